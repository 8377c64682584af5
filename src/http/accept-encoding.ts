import { longestListField } from './field-limit.ts'

/**
 * Whether `Accept-Encoding` allows a content coding (RFC 9110 section 12.5.3): named or by `*`, with a weight above 0. False without the field, and if it is longer than {@link longestListField}.
 */
export function acceptsCoding (field: string | undefined, coding: string): boolean {
  if (field === undefined || field.length > longestListField) return false
  let wildcard = false
  for (const member of field.toLowerCase().split(',')) {
    const [name = '', ...parameters] = member.split(';').map((part) => part.trim())
    const isAllowed = !parameters.some((parameter) => /^q=0(?:\.0{0,3})?$/.test(parameter))
    if (name === coding) return isAllowed
    if (name === '*') wildcard = isAllowed
  }
  return wildcard
}
