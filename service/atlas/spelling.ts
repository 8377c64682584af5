// Letters that Unicode does not decompose: SQLite's remove_diacritics leaves them unchanged.
const plainLetters: Record<string, string> = {
  ø: 'o', đ: 'd', ð: 'd', ł: 'l', ħ: 'h', ı: 'i', ŧ: 't', æ: 'ae', œ: 'oe', ß: 'ss', þ: 'th', ə: 'a'
}
const nothing = '""'
const oddLetters = /[øđðłħıŧæœßþə]/g

/** A name in ASCII letters, for keyboards without its letters (`Łódź` gives `lódź`; the index removes accents); empty if it adds nothing. */
export function plainSpelling (name: string): string {
  const lower = name.toLowerCase()
  const plain = lower.replace(oddLetters, (letter) => plainLetters[letter] ?? letter)
  return plain === lower ? '' : plain
}

/** No city name has more words than this, so that further words exclude every city. */
const mostWords = 8

/**
 * An FTS5 query for a typed text: every word must occur, each can be the beginning of a word.
 *
 * A word that occurs twice, or that another word begins with, is omitted. Of many words the longest are used, because they match the fewest names.
 *
 * Words are quoted, so that FTS5's syntax (`OR`, `NEAR`, `*`, `^`, `:`, quotes) has no meaning in them.
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
