import { readFileSync } from 'node:fs'
import { join } from 'node:path'

/** The README, and what a test asks of it. */
export const readme = readFileSync(join(import.meta.dirname, '../../README.md'), 'utf8')

/**
 * The README's apps as modules that export theirs, and do not listen. A block that makes no app of its own goes on with the one before it.
 */
export function readmeModules (): string[] {
  const blocks = [...readme.matchAll(/^```ts\n(.*?)^```$/gms)].map(([, block = '']) => block)
  return blocks.map((block, index) => {
    const beginnings = blocks.slice(0, index + 1).findLastIndex((each) => each.includes('= Fastify('))
    const own = index === beginnings ? [] : [blocks[beginnings] ?? '']
    return [...own, block, 'export { app }\n'].join('\n').replaceAll(/^await app\.listen\(.*$/gm, '')
  })
}

/** The rows of the table whose head begins with this word, cell by cell, without backticks. */
export function tableOf (head: string): string[][] {
  const lines = readme.split('\n')
  const from = lines.findIndex((line) => line.startsWith(`| ${head} |`))
  const length = lines.slice(from).findIndex((line) => !line.startsWith('|'))
  return lines.slice(from + 2, from + length).map((line) => line.slice(2, -2).split(' | ').map((cell) => cell.replaceAll('`', '')))
}
