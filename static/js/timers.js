// Timers that end with the page they belong to.
export function every(ms, run, signal) {
  const timer = setInterval(run, ms);
  signal.addEventListener("abort", () => clearInterval(timer));
}

export function after(ms, run, signal) {
  const timer = setTimeout(run, ms);
  signal.addEventListener("abort", () => clearTimeout(timer));
  return timer;
}
