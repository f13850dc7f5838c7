// Numbers and times as they are read.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

/** All digits, in groups. */
export const count = (value: number): string => whole.format(value);

/** For axes and legends, where there is no room for all digits. */
export const compact = (value: number): string => short.format(value);

/** A rate: below ten a decimal tells more than a digit would. */
export const rate = (value: number): string =>
  value > 0 && value < 9.95 ? value.toFixed(1) : whole.format(value);

export const bytes = (value: number): string => {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? whole.format(value) : value.toFixed(1)} ${units[unit]}`;
};

const two = (value: number): string => String(value).padStart(2, "0");

/** 2026-11-26, in the time of the reader. */
export const day = (unix: number): string => {
  const date = new Date(unix * 1000);
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
};

export const clock = (unix: number, seconds = true): string => {
  const date = new Date(unix * 1000);
  const minutes = `${two(date.getHours())}:${two(date.getMinutes())}`;
  return seconds ? `${minutes}:${two(date.getSeconds())}` : minutes;
};

export const moment = (unix: number): string => `${day(unix)} ${clock(unix, false)}`;

/** As in "3 days", "2 h 5 min", "45 s". */
export const span = (seconds: number): string => {
  const value = Math.max(0, Math.floor(seconds));
  if (value < 60) return `${value} s`;
  if (value < 3600) return `${Math.floor(value / 60)} min ${value % 60} s`;
  if (value < 86_400) return `${Math.floor(value / 3600)} h ${Math.floor((value % 3600) / 60)} min`;
  const days = Math.floor(value / 86_400);
  return days === 1 ? "1 day" : `${count(days)} days`;
};

/** `country_denied` as words. */
export const words = (label: string): string => label.replaceAll("_", " ");

const PROTOCOLS: Record<number, string> = { 1: "icmp", 6: "tcp", 17: "udp", 47: "gre", 58: "icmpv6", 132: "sctp" };

export const protocol = (number: number): string => PROTOCOLS[number] ?? String(number);
