/**
 * Reads one cookie from a request's `Cookie` field.
 *
 * @returns its value; undefined when there is none, or two that differ: one of them was planted, and nobody can say which
 */
export function readCookie (field: string, name: string): string | undefined {
  let value: string | undefined
  for (let at = field.indexOf(`${name}=`); at !== -1; at = field.indexOf(`${name}=`, at + 1)) {
    if (at > 0 && !';, \t'.includes(field.charAt(at - 1))) continue
    const start = at + name.length + 1
    const end = field.indexOf(';', start)
    const found = field.slice(start, end === -1 ? undefined : end).trim()
    if (value !== undefined && found !== value) return undefined
    value = found
  }
  return value
}
