// The public API of the package as its declarations say it, for the report test/package/api-report.md: a change of it is a change for users.
// `node tools/api-report.mjs <folder of the package>` prints it, `--accept` builds the package and writes it.
import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const report = join(root, 'test', 'package', 'api-report.md')
// TypeScript 7 has no JavaScript API yet.
const ts = createRequire(join(root, 'tools', 'package', 'package.json'))('typescript-6.0')
const printer = ts.createPrinter({ removeComments: true })

function accept () {
  const { status } = spawnSync(process.execPath, [join(root, 'tools', 'build.mjs')], { stdio: 'inherit' })
  if (status !== 0) process.exit(status ?? 1)
  writeFileSync(report, reportOf(root))
}

function reportOf (folder) {
  const { exports } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
  const entries = Object.entries(exports).filter(([, target]) => target.types).map(([name, target]) => ({ name: `fastify-prism${name.slice(1)}`, file: join(folder, target.types) }))
  const program = ts.createProgram(entries.map(({ file }) => file), { module: ts.ModuleKind.NodeNext, target: ts.ScriptTarget.ES2024, strict: true, skipLibCheck: true, types: [] })
  const api = new Api(program, join(folder, 'dist'))
  const sections = entries.map(({ name, file }) => `## ${name}\n\n${api.exportsOf(file).join('\n')}\n`)
  const intro = '# The public API\n\nWritten by `npm run api:accept` from the declarations of every entry point. A difference is a change for users: it is accepted by that command, and gets a line in the changelog.\n'
  return [intro, ...sections, `## Types that these use\n\n\`\`\`ts\n${api.used().join('\n')}\n\`\`\`\n`, `## Additions to the types of other modules\n\n\`\`\`ts\n${api.augmentations().join('\n')}\n\`\`\`\n`].join('\n')
}

/** The declarations of the package that its entry points reach. */
class Api {
  #program
  #checker
  #dist
  #reached = new Map()

  constructor (program, dist) {
    this.#program = program
    this.#checker = program.getTypeChecker()
    this.#dist = dist
  }

  /** The names that a module exports; their declarations count as used. */
  exportsOf (file) {
    const module = this.#checker.getSymbolAtLocation(this.#program.getSourceFile(file))
    return this.#checker.getExportsOfModule(module).map(symbol => {
      const target = this.#target(symbol)
      this.#reach(target, true)
      return `- \`${symbol.name}\`${target.name !== symbol.name && target.name !== 'default' ? ` (${target.name.replace(/^".*"$/, 'module')})` : ''}${symbol.name === 'default' ? `: \`${this.#typeOf(target)}\`` : ''}`
    }).sort()
  }

  used () {
    return [...this.#reached.values()].flat().sort()
  }

  augmentations () {
    const files = this.#program.getSourceFiles().filter(({ fileName }) => this.#isOwn(fileName))
    return files.flatMap(file => file.statements.filter(ts.isModuleDeclaration).filter(({ name }) => ts.isStringLiteral(name) && !name.text.startsWith('.')).map(node => {
      this.#follow(node)
      return this.#textOf(node)
    })).sort()
  }

  #typeOf (symbol) {
    return this.#checker.typeToString(this.#checker.getTypeOfSymbol(symbol), undefined, ts.TypeFormatFlags.NoTruncation)
  }

  #target (symbol) {
    return symbol.flags & ts.SymbolFlags.Alias ? this.#checker.getAliasedSymbol(symbol) : symbol
  }

  #isOwn (fileName) {
    return !relative(this.#dist, fileName).startsWith('..')
  }

  #reach (symbol, isExported = false) {
    const declarations = (symbol.declarations ?? []).filter(node => this.#isOwn(node.getSourceFile().fileName))
    if (this.#reached.has(symbol) || declarations.length === 0) return
    this.#reached.set(symbol, [])
    if (symbol.flags & ts.SymbolFlags.ValueModule) return this.#checker.getExportsOfModule(symbol).forEach(each => this.#reach(this.#target(each), isExported))
    const whole = declarations.map(node => ts.isVariableDeclaration(node) ? node.parent.parent : node).filter(node => !ts.isTypeParameterDeclaration(node) && !ts.isParameter(node) && !ts.isTypeElement(node) && !ts.isClassElement(node))
    this.#reached.set(symbol, whole.map(node => this.#textOf(node)))
    // Of a class that only its instances reach, what its members name is not API.
    for (const node of whole) if (!ts.isClassDeclaration(node) || isExported) this.#follow(node)
  }

  /** Everything that a declaration names. */
  #follow (node) {
    if (ts.isIdentifier(node)) {
      const symbol = this.#checker.getSymbolAtLocation(node)
      if (symbol !== undefined) this.#reach(this.#target(symbol))
    }
    node.forEachChild(child => this.#follow(child))
  }

  #textOf (node) {
    return printer.printNode(ts.EmitHint.Unspecified, node, node.getSourceFile()).replace(/^ *(?:#private|(?:private|protected) [^\n]*);\n/gm, '').replace(/^export (?:default )?/, '').replaceAll(/import\("\.[^"]*"\)\./g, '')
  }
}

const [word = root] = process.argv.slice(2)
if (word === '--accept') accept()
else process.stdout.write(reportOf(word))
