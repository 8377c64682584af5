import { createRequire, registerHooks } from 'node:module'
import { pathToFileURL } from 'node:url'

// TypeScript 7 has no JavaScript API yet, and the parser needs one: all of the linter uses the TypeScript 6 that came with neostandard.
const typescript = pathToFileURL(createRequire(import.meta.resolve('neostandard')).resolve('typescript')).href
registerHooks({
  resolve: (name, context, next) => name === 'typescript' ? { url: typescript, format: 'commonjs', shortCircuit: true } : next(name, context)
})

const { default: neostandard, resolveIgnoresFromGitignore } = await import('neostandard')

/** Functions of the package that run for each request must not allocate in V8's old generation: see docs/adr/0018. */
const assignedFunction = ':matches(ArrowFunctionExpression, FunctionExpression)'
const noAssignedFunctions = {
  files: ['src/**/*.ts', 'plugins/**/*.ts'],
  rules: {
    'no-restricted-syntax': ['error', {
      selector: `AssignmentExpression[left.type='MemberExpression'] > ${assignedFunction}.right, AssignmentExpression[left.type='MemberExpression'] > TSAsExpression.right > ${assignedFunction}`,
      message: 'Assign the function to a constant first: V8 allocates a function expression that is assigned to a property in the old generation, where it keeps what it references in memory (docs/adr/0018).'
    }]
  }
}

export default [...neostandard({ ts: true, ignores: resolveIgnoresFromGitignore() }), noAssignedFunctions]
