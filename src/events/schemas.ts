import { Ajv } from 'ajv'
import type { AnySchemaObject } from 'ajv'
import { EventError } from '../shared/errors.ts'
import { invalidOption } from '../shared/option-readers.ts'
import type { NewEvent } from './event.ts'

/** What the data of events must look like: JSON schemas, by the events' type. */
export type EventSchemas = Readonly<Record<string, AnySchemaObject>>

/**
 * Makes the check of events before they are published. A type without a schema may have any data.
 *
 * @returns throws {EventError} PRISM_ERR_EVENT, naming the place and never the value
 * @throws {OptionError} PRISM_ERR_OPTION for a schema that is none
 */
export function compileSchemas (schemas: EventSchemas): (event: NewEvent) => void {
  const ajv = new Ajv()
  const checks = new Map(Object.entries(schemas).map(([type, schema]) => [type, compile(ajv, type, schema)]))
  return ({ type, data }) => {
    const check = checks.get(type)
    if (check === undefined || check(data)) return
    const [fault] = check.errors ?? []
    throw new EventError(`of type ${type} must have data as its schema says: data${fault?.instancePath ?? ''} ${fault?.message ?? 'is wrong'}`)
  }
}

function compile (ajv: Ajv, type: string, schema: AnySchemaObject): ReturnType<Ajv['compile']> {
  try {
    return ajv.compile(schema)
  } catch (error) {
    return invalidOption(`events.schemas.${type}`, `a JSON schema (${error instanceof Error ? error.message : 'it cannot be compiled'})`, schema)
  }
}
