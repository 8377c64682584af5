/**
 * Reads one cookie from a request's `Cookie` field (RFC 6265 section 5.4).
 *
 * @returns its value; undefined when there is none, or two that differ: one of them was planted, and nobody can say which
 */
export function readCookie (field: string, name: string): string | undefined {
  let value: string | undefined
  for (const start of placesOf(field, `${name}=`)) {
    const end = field.indexOf(';', start)
    const found = field.slice(start, end === -1 ? undefined : end).trim()
    if (value !== undefined && found !== value) return undefined
    value = found
  }
  return value
}

/** Where values of this name begin: a name stands at the field's beginning, or after a semicolon. */
function placesOf (field: string, start: string): number[] {
  const places: number[] = []
  for (let at = field.indexOf(start); at !== -1; at = field.indexOf(start, at + 1)) {
    let before = at - 1
    while (before >= 0 && (field[before] === ' ' || field[before] === '\t')) before--
    if (before < 0 || field[before] === ';') places.push(at + start.length)
  }
  return places
}
