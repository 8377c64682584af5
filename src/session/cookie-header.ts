/** A browser keeps fewer cookies of one site; more of one name than this are not looked at. */
const mostOfOneName = 100

/**
 * Reads one cookie from a request's `Cookie` field (RFC 6265 section 5.4).
 *
 * @returns its value; undefined when there is none, or two that differ: one of them was planted, and nobody can say which
 */
export function readCookie (field: string, name: string): string | undefined {
  const start = `${name}=`
  let at = nextOf(field, start, 0)
  if (at === -1) return undefined
  const value = valueAt(field, at)
  while ((at = nextOf(field, start, at)) !== -1) if (valueAt(field, at) !== value) return undefined
  return value
}

/** Reads all cookies of one name. */
export function readCookies (field: string, name: string): string[] {
  const start = `${name}=`
  const values: string[] = []
  for (let at = nextOf(field, start, 0); at !== -1 && values.length < mostOfOneName; at = nextOf(field, start, at)) values.push(valueAt(field, at))
  return values
}

/** Where the next value of this name begins; -1 where there is none. A name stands at the field's beginning, or after a semicolon. */
function nextOf (field: string, start: string, from: number): number {
  for (let at = field.indexOf(start, from); at !== -1; at = field.indexOf(start, at + 1)) {
    let before = at - 1
    while (before >= 0 && (field[before] === ' ' || field[before] === '\t')) before--
    if (before < 0 || field[before] === ';') return at + start.length
  }
  return -1
}

function valueAt (field: string, at: number): string {
  const end = field.indexOf(';', at)
  return field.slice(at, end === -1 ? undefined : end).trim()
}
