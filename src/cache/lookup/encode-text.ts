/**
 * Encodes any string like encodeURIComponent, which throws for a lone surrogate. A client can send one in JSON (`"\ud800"`).
 *
 * @returns an injective encoding: a lone surrogate becomes `%u` and four digits, which encodeURIComponent never produces
 */
export function encodeText (text: string): string {
  if (text.isWellFormed()) return encodeURIComponent(text)
  return Array.from(text, (character) => character.isWellFormed() ? encodeURIComponent(character) : `%u${character.charCodeAt(0).toString(16)}`).join('')
}
