/** Limit of cookies with one name that are read; browsers store fewer for one site. */
const maxPerName = 100

/**
 * Reads one cookie from a Cookie header (RFC 6265 section 5.4).
 *
 * @returns the value; undefined if there is none, or if two differ: one of them may have been planted, and it is unknown which
 */
export function readCookie (header: string, name: string): string | undefined {
  const start = `${name}=`
  let at = indexOfValue(header, start, 0)
  if (at === -1) return undefined
  const value = valueAt(header, at)
  while ((at = indexOfValue(header, start, at)) !== -1) if (valueAt(header, at) !== value) return undefined
  return value
}

/** Reads the values of all cookies with one name. */
export function readCookies (header: string, name: string): string[] {
  const start = `${name}=`
  const values: string[] = []
  for (let at = indexOfValue(header, start, 0); at !== -1 && values.length < maxPerName; at = indexOfValue(header, start, at)) values.push(valueAt(header, at))
  return values
}

/** Index of the next value of this name, or -1. A name is at the start of the header or after a semicolon. */
function indexOfValue (header: string, start: string, from: number): number {
  for (let at = header.indexOf(start, from); at !== -1; at = header.indexOf(start, at + 1)) {
    let before = at - 1
    while (before >= 0 && (header[before] === ' ' || header[before] === '\t')) before--
    if (before < 0 || header[before] === ';') return at + start.length
  }
  return -1
}

function valueAt (header: string, at: number): string {
  const end = header.indexOf(';', at)
  return header.slice(at, end === -1 ? undefined : end).trim()
}
