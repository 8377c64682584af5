/**
 * Encodes any text, as encodeURIComponent does, which throws for half a surrogate pair: a client can send one in JSON (`"\ud800"`).
 *
 * @returns different for different texts: `%u` and four digits, for such a half, is what encodeURIComponent never writes
 */
export function encodeText (text: string): string {
  if (text.isWellFormed()) return encodeURIComponent(text)
  return Array.from(text, (character) => character.isWellFormed() ? encodeURIComponent(character) : `%u${character.charCodeAt(0).toString(16)}`).join('')
}
