import { readFileSync } from 'node:fs'
import { join } from 'node:path'

const root = join(import.meta.dirname, '../..')

/** The text of a document. */
export function documentOf (path: string): string {
  return readFileSync(join(root, path), 'utf8')
}

export const readme = documentOf('README.md')

/**
 * The apps of the README, docs/integration.md and docs/recipes.md as modules that export their app without listening.
 * A code block without an app continues the nearest block before it that has one.
 */
export function readmeModules (): string[] {
  const blocks = [readme, documentOf('docs/integration.md'), documentOf('docs/recipes.md')].flatMap((text) => [...text.matchAll(/^```ts\n(.*?)^```$/gms)].map(([, block = '']) => block))
  return blocks.map((block, index) => {
    const start = blocks.slice(0, index + 1).findLastIndex((each) => each.includes('= Fastify('))
    const own = index === start ? [] : [blocks[start] ?? '']
    return [...own, block, 'export { app }\n'].join('\n').replaceAll(/^await app\.listen\(.*$/gm, '')
  })
}

/** The apps on either side of the diff below a heading, as modules that export their app without listening. */
export function diffModules (path: string, heading: string): { before: string, after: string } {
  const section = documentOf(path).split(`## ${heading}\n`)[1] ?? ''
  const lines = (/^```diff\n(.*?)^```$/ms.exec(section)?.[1] ?? '').split('\n')
  const side = (sign: string) => [...lines.filter((line) => !line.startsWith(sign)).map((line) => line.slice(1)), 'export { app }', ''].join('\n').replaceAll(/^await app\.listen\(.*$/gm, '')
  return { before: side('+'), after: side('-') }
}

/** The rows of the table with this title in its first column, cell by cell, without backticks. */
export function tableOf (path: string, title: string): string[][] {
  const lines = documentOf(path).split('\n')
  const from = lines.findIndex((line) => line.startsWith(`| ${title} |`))
  const length = lines.slice(from).findIndex((line) => !line.startsWith('|'))
  return lines.slice(from + 2, from + length).map((line) => line.slice(2, -2).split(' | ').map((cell) => cell.replaceAll('`', '')))
}
