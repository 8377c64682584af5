import { createRequire } from 'node:module'
import type { Ajv, AnySchemaObject } from 'ajv'
import { EventError } from '../shared/errors.ts'
import { invalidOption } from '../shared/option-readers.ts'
import type { NewEvent } from './event.ts'

/** JSON schemas of the events' data, by event type. */
export type EventSchemas = Readonly<Record<string, AnySchemaObject>>

/**
 * Compiles the validation of published events. A type without a schema accepts any data.
 *
 * @returns a function that throws {EventError} PRISM_ERR_EVENT, with the path and never the value
 * @throws {OptionError} PRISM_ERR_OPTION for an invalid schema
 */
export function compileSchemas (schemas: EventSchemas): (event: NewEvent) => void {
  const types = Object.entries(schemas)
  if (types.length === 0) return () => {}
  const ajv = newAjv()
  const checks = new Map(types.map(([type, schema]) => [type, compile(ajv, type, schema)]))
  return ({ type, data }) => {
    const check = checks.get(type)
    if (check === undefined || check(data)) return
    const [failure] = check.errors ?? []
    throw new EventError(`of type ${type} must match its schema: data${failure?.instancePath ?? ''} ${failure?.message ?? 'is invalid'}`)
  }
}

/** Loaded only when an app has a schema: most have none, and it has 67 modules. */
function newAjv (): Ajv {
  const { Ajv } = createRequire(import.meta.url)('ajv') as typeof import('ajv')
  return new Ajv()
}

function compile (ajv: Ajv, type: string, schema: AnySchemaObject): ReturnType<Ajv['compile']> {
  try {
    return ajv.compile(schema)
  } catch (error) {
    return invalidOption(`events.schemas.${type}`, `a JSON schema (${error instanceof Error ? error.message : 'it cannot be compiled'})`, schema)
  }
}
