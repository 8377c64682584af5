import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { alert } from '../../service/alert-command.ts'
import { rules } from '../../service/alerts/rules.ts'
import { rules as rulesCommand } from '../../service/rules-command.ts'
import { main } from '../../src/cli/main.ts'

const text = (path: string) => readFileSync(join(import.meta.dirname, '../..', path), 'utf8')
const [operations, metricsPage, configuration] = [text('docs/operations.md'), text('docs/metrics.md'), text('docs/configuration.md')]

/** The anchor of a heading. */
function anchorOf (heading: string): string {
  return heading.toLowerCase().replace(/[^\w\s-]/g, '').trim().replace(/\s/g, '-')
}

t.test('docs/operations.md lists each alert with its severity and a link to its remedy', async (t) => {
  const rows = [...operations.matchAll(/^\| \[`(\w+)`\]\(#[\w-]+\) \| .* \| (\w+) \|$/gm)].map(([, name, severity]) => ({ name, severity }))

  t.same(rows, rules.map(({ name, severity }) => ({ name, severity })))
})

t.test('docs/operations.md contains every heading that it links to', async (t) => {
  const anchors = new Set([...operations.matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) => anchorOf(heading)))
  const links = [...operations.matchAll(/\]\(#([\w-]+)\)/g)].map(([, anchor = '']) => anchor)

  t.ok(links.length > 15)
  t.same(links.filter((anchor) => !anchors.has(anchor)), [])
})

t.test('docs/operations.md names only metrics, variables and commands that exist', async (t) => {
  const written: string[] = []
  await main(['--help'], {}, { out: { write: (line) => written.push(line) }, serviceCommands: { alert, rules: rulesCommand } })
  const commands = [...operations.matchAll(/(?:fastify-prism|run prism --) ([a-z]+)/g)].map(([, name = '']) => name)
  const metrics = [...operations.matchAll(/`(prism_\w+)/g)].map(([, name = '']) => name)
  const variables = [...operations.matchAll(/\b([A-Z]+_[A-Z_]+[A-Z])\b/g)].map(([, name = '']) => name).filter((name) => !name.startsWith('OTEL_') && !name.startsWith('PRISM_'))

  t.ok(commands.length > 8 && metrics.length > 3 && variables.length > 8)
  t.same(commands.filter((name) => !written.join('').includes(`  ${name} `)), [])
  t.same(metrics.filter((name) => !metricsPage.includes(`| \`${name}\` |`)), [])
  t.same(variables.filter((name) => !configuration.includes(`\`${name}\``)), [])
})
