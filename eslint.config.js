import { createRequire, registerHooks } from 'node:module'
import { pathToFileURL } from 'node:url'

// TypeScript 7 has no JavaScript API yet, and the parser needs one: all of the linter uses the TypeScript 6 that came with neostandard.
const typescript = pathToFileURL(createRequire(import.meta.resolve('neostandard')).resolve('typescript')).href
registerHooks({
  resolve: (name, context, next) => name === 'typescript' ? { url: typescript, format: 'commonjs', shortCircuit: true } : next(name, context)
})

const { default: neostandard, resolveIgnoresFromGitignore } = await import('neostandard')

export default neostandard({ ts: true, ignores: resolveIgnoresFromGitignore() })
