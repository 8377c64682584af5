import { longestListField } from './field-limit.ts'

/**
 * Whether `Accept-Encoding` allows a content coding (RFC 9110 section 12.5.3): named or by `*`, with a weight above 0. Without the field nothing is asked for, and neither with one that is longer than {@link longestListField}.
 */
export function acceptsCoding (field: string | undefined, coding: string): boolean {
  if (field === undefined || field.length > longestListField) return false
  let star = false
  for (const member of field.toLowerCase().split(',')) {
    const [name = '', ...parameters] = member.split(';').map((part) => part.trim())
    const isAllowed = !parameters.some((parameter) => /^q=0(?:\.0{0,3})?$/.test(parameter))
    if (name === coding) return isAllowed
    if (name === '*') star = isAllowed
  }
  return star
}
