import { hostname } from 'node:os'
import { runbookPage } from './rule.ts'
import type { Rule } from './rule.ts'
import type { Alert } from './alert-evaluator.ts'

/** Message of one alert: the JSON format, and the input of the other formats. */
export interface AlertMessage {
  readonly status: 'firing' | 'resolved' | 'test'
  readonly alert: string
  readonly severity: Rule['severity']
  readonly meaning: string
  /** what to do first */
  readonly first: string
  /** section of the documentation: `docs/operations.md#memory-is-full` */
  readonly runbook?: string | undefined
  /** why Redis is unusable, for alerts about Redis */
  readonly reason?: { readonly code: string, readonly sentence: string, readonly remedy: string } | undefined
  /** alerts caused by this one, which are not reported separately */
  readonly consequences?: readonly string[] | undefined
  readonly value: number | null
  /** time of the state change, RFC 3339 */
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
    runbook: `${runbookPage}${rule.section}`,
    reason,
    ...(consequences.length === 0 ? {} : { consequences }),
    value: value ?? null,
    at: new Date(since).toISOString(),
    service: 'fastify-prism',
    instance: hostname()
  }
}

/** @returns a message with status `test` */
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
