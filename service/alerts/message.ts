import { hostname } from 'node:os'
import type { Rule } from './rules.ts'
import type { Alert } from './alert-evaluator.ts'

/** What is told of one alert: the plain JSON form, and what the other formats are made of. */
export interface AlertMessage {
  readonly status: 'firing' | 'resolved' | 'test'
  readonly alert: string
  readonly severity: Rule['severity']
  readonly meaning: string
  /** what to do first */
  readonly first: string
  /** why Redis cannot be used, where that is the alert */
  readonly reason?: { readonly code: string, readonly sentence: string, readonly remedy: string } | undefined
  /** alerts that fire because of this one, and are not told by themselves */
  readonly consequences?: readonly string[] | undefined
  readonly value: number | null
  /** when it became so, RFC 3339 */
  readonly at: string
  readonly service: 'fastify-prism'
  readonly instance: string
}

/** @param consequences see {@link AlertMessage.consequences} */
export function messageOf (status: 'firing' | 'resolved', { rule, value, since, reason }: Alert, consequences: readonly string[]): AlertMessage {
  return {
    status,
    alert: rule.name,
    severity: rule.severity,
    meaning: rule.meaning,
    first: reason?.remedy ?? rule.first,
    reason,
    ...(consequences.length === 0 ? {} : { consequences }),
    value: value ?? null,
    at: new Date(since).toISOString(),
    service: 'fastify-prism',
    instance: hostname()
  }
}

/** A message that says it is a test. */
export function testMessage (): AlertMessage {
  return {
    status: 'test',
    alert: 'PrismTest',
    severity: 'info',
    meaning: 'This is a test: alerts arrive here.',
    first: 'Nothing.',
    value: null,
    at: new Date().toISOString(),
    service: 'fastify-prism',
    instance: hostname()
  }
}
