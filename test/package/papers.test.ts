import { execFile } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { limits, root } from './pack.ts'
import { installPackage, toolOf } from './project.ts'

t.setTimeout(600_000) // it packs and installs
const execute = promisify(execFile)
const project = await installPackage(t)
const own = join(project.folder, 'node_modules', 'fastify-prism')
const read = (file: string) => readFileSync(join(own, file), 'utf8')

/** The output of a tool; with its exit code where it has failed. */
async function outputOf (program: string, args: readonly string[]): Promise<string> {
  const { stdout } = await execute(process.execPath, [program, ...args], { ...limits, cwd: project.folder }).catch((failure: { code: number, stdout: string, stderr: string }) => ({ stdout: `exit code ${failure.code}\n${failure.stdout}${failure.stderr}` }))
  return stdout
}

t.test('publint finds nothing in the package', async (t) => {
  t.match(await outputOf(toolOf('publint'), [project.tarball, '--strict']), 'All good!')
})

t.test('are-the-types-wrong finds nothing for importers that the package supports: ES modules, require() of Node 22.12 and later, and bundlers', async (t) => {
  const result = JSON.parse(await outputOf(toolOf('attw'), [project.tarball, '--profile', 'esm-only', '--format', 'json'])) as { analysis: { entrypoints: object, problems: { kind: string, resolutionKind?: string }[] } }

  // Without `exports`, as in TypeScript before NodeNext, no entry point but the first can be found.
  t.same(result.analysis.problems.filter(({ resolutionKind, kind }) => resolutionKind !== 'node10' && kind !== 'CJSResolvesToESM'), [])
})

t.test('package.json tells where the package comes from, and that its modules have no side effects', async (t) => {
  t.match(JSON.parse(read('package.json')), {
    author: String,
    license: 'MIT',
    repository: { type: 'git', url: /^git\+https:/ },
    homepage: /^https:/,
    bugs: { url: /^https:/ },
    sideEffects: false,
    publishConfig: { access: 'public', provenance: true },
    engines: { node: '>=22.12' },
    peerDependencies: { fastify: '^5.0.0' }
  })
})

t.test('the README names the oldest Node that package.json accepts', async (t) => {
  const { engines } = JSON.parse(read('package.json')) as { engines: { node: string } }

  t.match(read('README.md'), `Node ${engines.node.replace('>=', '')} or newer`)
})

t.test('the public API is that of the report: a change is accepted by "npm run api:accept"', async (t) => {
  const report = await outputOf(join(root, 'tools', 'api-report.mjs'), [own])

  t.equal(report, readFileSync(join(import.meta.dirname, 'api-report.md'), 'utf8'))
})

t.test('the exported errors are those of the package, none of the example service', async (t) => {
  project.write('errors.ts', "import { errors } from 'fastify-prism'\nconsole.log(JSON.stringify(Object.values(errors).map((Made) => new (Made as any)('', '', '').code)))\n")
  const codes = await project.run('errors.ts') as string[]
  const ofExample = [...readFileSync(join(root, 'service', 'errors.ts'), 'utf8').matchAll(/PRISM_ERR_\w+/g)].map(([code]) => code)

  t.ok(codes.includes('PRISM_ERR_OPTION'))
  t.same(codes.filter((code) => ofExample.includes(code)), [])
})

/** The documents for users of the package, without those about this repository. */
const documents = project.files.filter((file) => /^(?:README\.md|docs\/[\w-]+\.md|alerts\/.*|grafana\/.*)$/.test(file))

t.test('shipped documents and alert rules name a command of the repository only where they say that it is one', async (t) => {
  const saysSo = (text: string) => /repository|example service/.test(text)
  const others = documents.filter((file) => file !== 'README.md' && !saysSo(read(file).split('\n', 4).join('\n')))
  const named = others.flatMap((file) => read(file).split('\n').filter((line) => /npm (?:run [\w:-]|start\b)|\bnode (?:bench|test|tools|service)\//.test(line) && !saysSo(line)).map((line) => `${file}: ${line.slice(0, 80)}`))

  t.same(named, [])
})

t.test('pages that name paths or variables of the example service say whose they are', async (t) => {
  const ofService = documents.filter((file) => /`(?:\/healthz|GET \/ops|ADMIN_TOKEN|METRICS_PORT|SESSION_REDIS_URL|SESSION_SECRET)/.test(read(file)))

  t.same(ofService.filter((file) => !/example(?: service|'s)/.test(read(file))), [])
})

t.test('shipped documents link to files of the package, and name no other file of the repository', async (t) => {
  const links = documents.flatMap((file) => [...read(file).matchAll(/\]\(([^)#:\s]+)(?:#[^)]*)?\)/g)].map(([, target = '']) => [file, target] as const))

  // Registries resolve the links of the README by `repository`.
  t.same(links.filter(([file]) => file !== 'README.md').filter(([file, target]) => !existsSync(join(own, file, '..', target))).map((each) => each.join(' links to ')), [])
})

t.end()
