import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { versionOf } from './row.ts'
import type { Exception, Row } from './row.ts'

const common = ['a second request is a hit', 'two users never share', 'sessions load and save', 'limits count once', 'streams and uploads pass']

const introduction = `# Compatibility

In the repository, \`npm run test:ecosystem\` runs the stack beside these packages, on real servers and with real clients, and makes this table (\`npm run test:ecosystem -- --write\`).

**basics** means: ${common.join('; ')}; the app starts without a warning and closes. The order is that of registration. [Integration](integration.md) tells the documented order.

| package | version | order | works | does not, and why |
| --- | --- | --- | --- | --- |
`

/** The text of docs/compatibility.md from the rows that the test files have written into a folder. */
export function tableOf (folder: string): string {
  const rows: Row[] = readdirSync(folder).map((name) => JSON.parse(readFileSync(join(folder, name), 'utf8')))
  const lines = rows.map(lineOf).sort((one, other) => one.toLowerCase() < other.toLowerCase() ? -1 : 1)
  return introduction + lines.join('\n') + '\n'
}

function lineOf ({ packages, order, works, fails }: Row): string {
  const rest = works.filter((each) => !common.includes(each))
  const basics = common.filter((each) => works.includes(each))
  const all = [...basics.length === common.length ? ['**basics**'] : basics, ...rest]
  return `| ${packages.join(', ')} | ${packages.map(versionOf).filter(Boolean).join(', ')} | ${order} | ${all.join('; ')} | ${fails.map(textOf).join('; ')} |`
}

function textOf ({ what, why, told }: Exception): string {
  return `${what}: ${why}${told ? ` (at start: \`${told.replaceAll('|', '\\|')}\`)` : ''}`
}
