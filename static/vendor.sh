#!/bin/sh
# Puts the pinned third-party browser files from npm into static/vendor/ (and axe, for tests, into tests/browser/vendor/).
# Run it after changing a version in package.json; the results are committed, so nobody else needs Node.
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

# The text annotator comes as modules that import other packages by name; browsers cannot, so these become one file.
echo 'export { createRenderer, createTextAnnotator } from "@recogito/text-annotator";' |
  node_modules/.bin/esbuild --bundle --format=esm --minify --target=es2022 --log-level=warning --outfile="$out/text-annotator.js"
{
  echo "text-annotator.js is @recogito/text-annotator with the packages below."
  for package in @recogito/text-annotator @annotorious/core colord debounce dequal hotkeys-js nanoevents poll quickselect rbush uuid; do
    # The first two come without the text of their licence.
    own=$(find "node_modules/$package" -maxdepth 1 -iname 'licen[cs]e*' | head -n 1)
    printf '\n== %s\n\n' "$package"
    case $package in
      @recogito/*) echo "Copyright (c) 2023, Recogito"; cat static/vendor.BSD-3-Clause ;;
      @annotorious/*) echo "Copyright (c) 2020, Pelagios Network"; cat static/vendor.BSD-3-Clause ;;
      *) cat "${own:?no licence for $package}" ;;
    esac
  done
} >"$out/text-annotator.LICENSE"

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
