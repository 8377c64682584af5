/**
 * Reads one cookie from a request's `Cookie` field (RFC 6265 section 5.4).
 *
 * @returns its value; undefined when there is none, or two that differ: one of them was planted, and nobody can say which
 */
export function readCookie (field: string, name: string): string | undefined {
  const [value, ...others] = readCookies(field, name)
  return others.every((other) => other === value) ? value : undefined
}

/** Reads all cookies of one name. */
export function readCookies (field: string, name: string): string[] {
  return placesOf(field, `${name}=`).map((start) => {
    const end = field.indexOf(';', start)
    return field.slice(start, end === -1 ? undefined : end).trim()
  })
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
