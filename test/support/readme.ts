import { readFileSync } from 'node:fs'
import { join } from 'node:path'

const root = join(import.meta.dirname, '../..')

/** The text of a document. */
export function documentOf (path: string): string {
  return readFileSync(join(root, path), 'utf8')
}

export const readme = documentOf('README.md')

/**
 * The apps of the README and of docs/integration.md as modules that export their app without listening.
 * A code block without an app continues the nearest block before it that has one.
 */
export function readmeModules (): string[] {
  const blocks = [readme, documentOf('docs/integration.md')].flatMap((text) => [...text.matchAll(/^```ts\n(.*?)^```$/gms)].map(([, block = '']) => block))
  return blocks.map((block, index) => {
    const start = blocks.slice(0, index + 1).findLastIndex((each) => each.includes('= Fastify('))
    const own = index === start ? [] : [blocks[start] ?? '']
    return [...own, block, 'export { app }\n'].join('\n').replaceAll(/^await app\.listen\(.*$/gm, '')
  })
}

/** The rows of the table with this title in its first column, cell by cell, without backticks. */
export function tableOf (path: string, title: string): string[][] {
  const lines = documentOf(path).split('\n')
  const from = lines.findIndex((line) => line.startsWith(`| ${title} |`))
  const length = lines.slice(from).findIndex((line) => !line.startsWith('|'))
  return lines.slice(from + 2, from + length).map((line) => line.slice(2, -2).split(' | ').map((cell) => cell.replaceAll('`', '')))
}
