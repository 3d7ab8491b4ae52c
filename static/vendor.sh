#!/bin/sh
# Copies the pinned third-party browser files from npm to static/vendor/ (and axe, for tests, to tests/browser/vendor/).
# Run it after changing a version in package.json; the copies are committed, so nobody else needs Node.
set -eu
cd "$(dirname "$0")/.."
npm ci --ignore-scripts --no-audit --no-fund

out=static/vendor
rm -rf "$out"
mkdir -p "$out/fonts" tests/browser/vendor
cp node_modules/htmx.org/dist/htmx.min.js "$out/htmx.min.js"
cp node_modules/htmx.org/LICENSE "$out/htmx.LICENSE"
cp node_modules/uplot/dist/uPlot.esm.js "$out/uplot.js"
cp node_modules/uplot/dist/uPlot.min.css "$out/uplot.css"
cp node_modules/uplot/LICENSE "$out/uplot.LICENSE"
for family in inter source-serif-4; do
  from="node_modules/@fontsource-variable/$family"
  cp "$from/LICENSE" "$out/fonts/$family.LICENSE"
  for subset in latin latin-ext; do
    cp "$from/files/$family-$subset-wght-normal.woff2" "$out/fonts/"
  done
done
cp node_modules/@fontsource-variable/source-serif-4/files/source-serif-4-latin-wght-italic.woff2 "$out/fonts/"
cp node_modules/axe-core/axe.min.js tests/browser/vendor/axe.min.js
cp node_modules/axe-core/LICENSE tests/browser/vendor/axe.LICENSE
