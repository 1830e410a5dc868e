// Numbers as a person reads them.

const UNITS = [[86400, "d"], [3600, "h"], [60, "min"]];

/** Return a duration in its largest unit. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "unknown";
  for (const [size, unit] of UNITS) if (seconds >= size) return `${Math.round(seconds / size)} ${unit}`;
  return `${seconds >= 10 || seconds === 0 ? Math.round(seconds) : Math.round(seconds * 10) / 10} s`;
}

/** Return a count of bytes. */
export function bytes(count) {
  for (const [size, unit] of [[1e9, "GB"], [1e6, "MB"], [1e3, "kB"]]) {
    if (count >= size) return `${(count / size).toFixed(1)} ${unit}`;
  }
  return `${Math.round(count)} B`;
}

/** Return a number, short. */
export function short(count) {
  if (count >= 1e6) return `${(count / 1e6).toFixed(1)} M`;
  if (count >= 1e4) return `${(count / 1e3).toFixed(0)} k`;
  return String(count >= 10 ? Math.round(count) : Math.round(count * 10) / 10);
}

/** Return a time of day. at: seconds since the epoch; seconds: whether they are told. */
export function clock(at, seconds = true) {
  const options = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  return new Date(at * 1000).toLocaleTimeString([], seconds ? { ...options, second: "2-digit" } : options);
}

/** Return a number of things. */
export const counted = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;
