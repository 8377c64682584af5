import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { alert } from '../../service/alert-command.ts'
import { writePrometheusRules } from '../../service/alerts/prometheus.ts'
import { prometheusRules, rules } from '../../service/alerts/rules.ts'
import { rules as rulesCommand } from '../../service/rules-command.ts'
import { main } from '../../src/cli/main.ts'

const text = (path: string) => readFileSync(join(import.meta.dirname, '../..', path), 'utf8')
const [operations, metricsPage, configuration] = [text('docs/operations.md'), text('docs/metrics.md'), text('docs/configuration.md')]

/** The anchor of a heading. */
function anchorOf (heading: string): string {
  return heading.toLowerCase().replace(/[^\w\s-]/g, '').trim().replace(/\s/g, '-')
}

t.test('docs/operations.md lists each alert with its severity and a link to its remedy', async (t) => {
  const rows = [...operations.matchAll(/^\| \[`(\w+)`\]\(#([\w-]+)\) \| .* \| (\w+) \|$/gm)].map(([, name, section, severity]) => ({ name, section, severity }))

  t.same(rows, rules.map(({ name, section, severity }) => ({ name, section, severity })))
})

t.test('the runbook of each Prometheus rule is an existing section that names the alert', async (t) => {
  const written = [...text('alerts/prism.rules.yml').matchAll(/alert: (\w+)[^]*?runbook_url: "(.+?)#(.+)"/g)]

  t.same(written.map(([, name]) => name), [...rules, ...prometheusRules].map(({ name }) => name))
  for (const [, name = '', page = '', anchor] of written) {
    const section = text(page).split(/^#{2,3} /m).find((part) => anchorOf(part.split('\n')[0] ?? '') === anchor)
    t.match(section, `\`${name}\``, `${page}#${anchor}`)
  }
})

t.test('the rules link to the pages of the service where their address is given', async (t) => {
  const file = writePrometheusRules(rules, prometheusRules, 'https://example.com/ops/runbook/')

  t.equal(file.match(/runbook_url: "https:\/\/example\.com\/ops\/runbook\/[\w-]+"/g)?.length, rules.length + prometheusRules.length)
})

t.test('docs/operations.md lists each reason why Redis cannot be used', async (t) => {
  const codes = [...text('src/redis/health/reason-table.ts').matchAll(/^ {2}(\w+): \{\n {4}(?:\/\/ .*\n {4})?pattern:/gm)].map(([, code = '']) => code)
  const listed = new Set([...operations.matchAll(/^\| (`\w+`(?:, `\w+`)*) \|/gm)].flatMap(([, cell = '']) => cell.replaceAll('`', '').split(', ')))

  t.ok(codes.length > 30)
  t.same(codes.filter((code) => code !== 'not_connected' && !listed.has(code)), [])
})

t.test('docs/operations.md contains every heading that it links to', async (t) => {
  const anchors = new Set([...operations.matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) => anchorOf(heading)))
  const links = [...operations.matchAll(/\]\(#([\w-]+)\)/g)].map(([, anchor = '']) => anchor)

  t.ok(links.length > 15)
  t.same(links.filter((anchor) => !anchors.has(anchor)), [])
})

t.test('each text for operators names commands of the CLI that exist, and how they are started in an app, in the image and in a clone', async (t) => {
  const written: string[] = []
  await main(['--help'], {}, { out: { write: (line) => written.push(line) }, serviceCommands: { alert, rules: rulesCommand } })
  const isCommand = (name: string) => written.join('').includes(`\n  ${name} `)
  const alertTexts = [...rules, ...prometheusRules].map(({ first }) => first)
  const remedies = [...`${text('src/redis/health/reason-table.ts')}${text('src/redis/health/unreachable-reason.ts')}`.matchAll(/remedy: '(.+)'[,}\n ]/g)].map(([, remedy = '']) => remedy)
  const sources = ['src/redis/health/reason-table.ts', 'src/redis/health/unreachable-reason.ts', 'service/dashboard/page.html', 'service/dashboard/state.js', 'docs/deployment.md', 'docs/procedures.md', 'docs/operations.md', 'docs/contributing.md', 'README.md'].map(text)
  const named = [...alertTexts, ...sources].flatMap((source) => [...source.matchAll(/(?:npx fastify-prism|npm run prism --) ([\w-]+)/g)].map(([, name = '']) => name))

  t.ok(named.length > 30 && remedies.length > 25)
  t.same(named.filter((name) => !isCommand(name)), [])
  for (const each of [...alertTexts, ...remedies]) {
    for (const [, command = ''] of each.matchAll(/`npx fastify-prism ([^`]+)`/g)) t.ok(each.includes(`(in a clone \`npm run prism -- ${command}\`)`), each)
    t.notMatch(each.replace(/\(in a clone `[^`]+`\)/g, ''), /npm run prism/)
  }
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
