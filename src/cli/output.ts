import { styleText } from 'node:util'

/** A stream, as far as it matters here. */
export interface Writable { write (text: string): unknown, readonly isTTY?: boolean }

type Tone = 'green' | 'yellow' | 'red' | 'dim' | 'bold'

/** Where a command writes: text for a person, or with `--json` one object for a program; colours and progress on a terminal only. */
export class Output {
  readonly isJson: boolean
  readonly #mayTint: boolean
  readonly #out: Writable
  readonly #aside: Writable

  /** @param mayTint whether a terminal is given colours */
  constructor ({ isJson, mayTint }: { isJson: boolean, mayTint: boolean }, out: Writable, aside: Writable) {
    this.isJson = isJson
    this.#mayTint = mayTint
    this.#out = out
    this.#aside = aside
  }

  /** The result: `facts` for a program, `lines` for a person. */
  tell (facts: unknown, lines: readonly string[]): void {
    this.#out.write(this.isJson ? `${JSON.stringify(facts)}\n` : `${lines.join('\n')}\n`)
  }

  /** A part of the result, as soon as it is known: for a person; a program is told all at the end. */
  tellPart (lines: readonly string[]): void {
    if (!this.isJson) this.#out.write(`${lines.join('\n')}\n`)
  }

  /** What went wrong, and perhaps what would not: beside the result, as an object where that is one. */
  complain (message: string, lines: readonly string[] = []): void {
    this.#aside.write(this.isJson ? `${JSON.stringify({ error: message })}\n` : `${[message, ...lines.length > 0 ? ['', ...lines] : []].join('\n')}\n`)
  }

  /** How far long work has come; overwritten by the next. */
  progress (text: string): void {
    if (this.#aside.isTTY === true) this.#aside.write(`\r\x1b[K${text}`)
  }

  tint (tone: Tone, text: string): string {
    return this.#out.isTTY === true && this.#mayTint ? styleText(tone, text, { validateStream: false }) : text
  }
}

/** Rows under a head, each column as wide as it must be; numbers to the right. */
export function table (head: readonly string[], rows: readonly (readonly (string | number)[])[]): string[] {
  const texts = [head, ...rows.map((row) => row.map(String))]
  const widths = head.map((_, column) => Math.max(...texts.map((row) => row[column]?.length ?? 0)))
  const isNumber = head.map((_, column) => rows.every((row) => typeof row[column] === 'number' || /^[\d.]+ ?[KMG]?B?$/.test(String(row[column]))))
  return texts.map((row) => row.map((text, column) => isNumber[column] === true ? text.padStart(widths[column] ?? 0) : text.padEnd(widths[column] ?? 0)).join('  ').trimEnd())
}

/** Bytes as a person reads them. */
export function bytesText (bytes: number): string {
  if (bytes < 1024) return `${bytes} B`
  const [unit, value] = bytes < 1024 ** 2 ? ['KB', bytes / 1024] : bytes < 1024 ** 3 ? ['MB', bytes / 1024 ** 2] : ['GB', bytes / 1024 ** 3]
  return `${value.toFixed(1)} ${unit}`
}

/** A time that is left, as a person reads it. */
export function durationText (ms: number): string {
  if (ms < 0) return 'never'
  if (ms < 120_000) return `${Math.round(ms / 1000)} s`
  return ms < 7_200_000 ? `${Math.round(ms / 60_000)} min` : `${Math.round(ms / 3_600_000)} h`
}
