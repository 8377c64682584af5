// Letters that Unicode does not decompose, so that SQLite's remove_diacritics leaves them as they are.
const plainLetters: Record<string, string> = {
  ø: 'o', đ: 'd', ð: 'd', ł: 'l', ħ: 'h', ı: 'i', ŧ: 't', æ: 'ae', œ: 'oe', ß: 'ss', þ: 'th', ə: 'a'
}
const nothing = '""'
const oddLetters = /[øđðłħıŧæœßþə]/g

/** A name as somebody without the keyboard for it types it (`Łódź` gives `lódź`, accents are the index's work); empty when that adds nothing. */
export function plainSpelling (name: string): string {
  const lower = name.toLowerCase()
  const plain = lower.replace(oddLetters, (letter) => plainLetters[letter] ?? letter)
  return plain === lower ? '' : plain
}

/** No city's name has so many words that more of them would find another one. */
const mostWords = 8

/**
 * An FTS5 query for what somebody typed: every word must occur, each may be only the beginning of one.
 *
 * A word that is there twice, or that another one begins with, adds nothing, and is left out; of many words the longest count, which fit the fewest names.
 *
 * Words are quoted, so that FTS5's own syntax (`OR`, `NEAR`, `*`, `^`, `:`, quotes) has no meaning in them.
 */
export function matchOf (typed: string): string {
  const words = typed.replaceAll('\0', ' ').split(/\s+/).filter((word) => word !== '')
  return selective(words).map((word) => `"${word.replaceAll('"', '""')}"*`).join(' ') || nothing
}

function selective (words: readonly string[]): readonly string[] {
  const folded = words.map((word) => word.toLowerCase())
  const isImplied = (word: string, index: number) => folded.some((other, place) => other === word ? place < index : other.startsWith(word))
  const needed = words.filter((_word, index) => !isImplied(folded[index] ?? '', index))
  return needed.length <= mostWords ? needed : needed.toSorted((one, other) => other.length - one.length).slice(0, mostWords)
}
