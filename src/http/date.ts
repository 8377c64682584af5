const months = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec']

const clock = '(\\d{2}):(\\d{2}):(\\d{2})'
const imfFixdate = new RegExp(`^(?:mon|tue|wed|thu|fri|sat|sun), (\\d{2}) ([a-z]{3}) (\\d{4}) ${clock} gmt$`, 'i')
const rfc850 = new RegExp(`^(?:monday|tuesday|wednesday|thursday|friday|saturday|sunday), (\\d{2})-([a-z]{3})-(\\d{2}) ${clock} gmt$`, 'i')
const asctime = new RegExp(`^(?:mon|tue|wed|thu|fri|sat|sun) ([a-z]{3}) ([ \\d]\\d) ${clock} (\\d{4})$`, 'i')

/**
 * Parses an HTTP date: IMF-fixdate or one of the two obsolete formats (RFC 9110 section 5.6.7).
 *
 * @param nowMs determines the century of a two-digit year
 * @returns milliseconds since 1970; undefined for anything else
 */
export function parseHttpDate (value: unknown, nowMs = Date.now()): number | undefined {
  if (typeof value !== 'string') return undefined
  const text = value.trim()
  const fixed = imfFixdate.exec(text)
  if (fixed !== null) return instant(fixed[3], fixed[2], fixed[1], fixed.slice(4))
  const old = rfc850.exec(text)
  if (old !== null) return instant(centuryOf(Number(old[3]), nowMs), old[2], old[1], old.slice(4))
  const ansi = asctime.exec(text)
  return ansi === null ? undefined : instant(ansi[6], ansi[1], ansi[2], ansi.slice(3, 6))
}

/** Formats a date as IMF-fixdate. */
export function formatHttpDate (atMs: number): string {
  return new Date(atMs).toUTCString()
}

/** A two-digit year more than 50 years in the future means the most recent past year with these digits (RFC 9110 section 5.6.7). */
function centuryOf (twoDigits: number, nowMs: number): number {
  const thisYear = new Date(nowMs).getUTCFullYear()
  const year = thisYear - thisYear % 100 + twoDigits
  return year > thisYear + 50 ? year - 100 : year
}

function instant (year: string | number | undefined, monthName = '', day: string | undefined, time: string[]): number | undefined {
  const month = months.indexOf(monthName.toLowerCase())
  const [hour, minute, second] = time.map(Number)
  const parts = [Number(year), month, Number(day), hour, minute, second]
  if (month < 0 || parts.some((part) => part === undefined || Number.isNaN(part))) return undefined
  if (Number(day) < 1 || Number(day) > 31 || (hour ?? 24) > 23 || (minute ?? 60) > 59 || (second ?? 61) > 60) return undefined
  return Date.UTC(Number(year), month, Number(day), hour, minute, second)
}
