import { createServer } from 'node:http'
import type { ServerResponse } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import type { Test } from 'tap'
import { isHeadPatched, sentCookies, whenHeadWritten } from '../../../src/http/sent-head.ts'

/** Runs `handle` with the response of a real request, and returns what the client receives. */
async function exchange (t: Test, handle: (response: ServerResponse) => void): Promise<Response> {
  const server = createServer((_request, response) => handle(response)).listen(0, '127.0.0.1')
  t.after(() => server.close())
  await once(server, 'listening')
  return await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`)
}

/** As middleware does: calls `before`, then what it has replaced. */
function wrap (response: ServerResponse, before: () => void, { writeHead } = response): void {
  response.writeHead = function (this: ServerResponse, ...given: Parameters<ServerResponse['writeHead']>) {
    before()
    return writeHead.apply(this, given)
  } as ServerResponse['writeHead']
}

t.test('each listener is called once, when the header block is written', async (t) => {
  const calls: string[] = []
  const response = await exchange(t, (response) => {
    whenHeadWritten(response, () => calls.push(`first, sent: ${response.headersSent}`))
    const stop = whenHeadWritten(response, () => calls.push('removed'))
    whenHeadWritten(response, () => calls.push('third'))
    stop()
    response.writeHead(201, { 'x-own': 'yes' })
    calls.push('written')
    response.end('body')
  })
  t.equal(response.status, 201)
  t.equal(response.headers.get('x-own'), 'yes')
  t.same(calls, ['first, sent: true', 'third', 'written'])
})

t.test('a block that Node writes by itself is noticed', async (t) => {
  const calls: string[] = []
  await exchange(t, (response) => {
    response.setHeader('set-cookie', ['a=1', 'b=2'])
    whenHeadWritten(response, () => calls.push(...sentCookies(response) ?? []))
    response.end('body')
  })
  t.same(calls, ['a=1', 'b=2'])
})

t.test('a response is unchanged after its last listener is removed', async (t) => {
  const response = await exchange(t, (response) => {
    const { writeHead } = response
    const [one, other] = [whenHeadWritten(response, () => t.fail('removed')), whenHeadWritten(response, () => t.fail('removed'))]
    t.notOk(isHeadPatched(response), 'the own function counts for nothing')
    one()
    other()
    t.equal(response.writeHead, writeHead)
    response.end('body')
  })
  t.equal(await response.text(), 'body')
})

t.test('the functions of other code are called in their order, wherever they wrap', async (t) => {
  const calls: string[] = []
  const response = await exchange(t, (response) => {
    wrap(response, () => calls.push('inner'))
    const stop = whenHeadWritten(response, () => t.fail('removed'))
    wrap(response, () => calls.push('outer'))
    t.ok(isHeadPatched(response))
    stop()
    whenHeadWritten(response, () => calls.push('listener'))
    response.end('body')
  })
  t.equal(response.status, 200)
  t.same(calls, ['outer', 'inner', 'listener'])
})

t.test('a wrapper that calls a function which was read while a listener was there does not call itself', async (t) => {
  const calls: string[] = []
  const response = await exchange(t, (response) => {
    const stop = whenHeadWritten(response, () => t.fail('removed'))
    const { writeHead } = response
    stop()
    wrap(response, () => calls.push('wrapper'), { writeHead } as ServerResponse)
    whenHeadWritten(response, () => calls.push('listener'))
    response.end('body')
  })
  t.equal(await response.text(), 'body')
  t.same(calls, ['wrapper', 'listener'])
})

t.test('a call that fails is no header block', async (t) => {
  const calls: string[] = []
  const response = await exchange(t, (response) => {
    whenHeadWritten(response, () => calls.push('written'))
    t.throws(() => response.writeHead(99), { code: 'ERR_HTTP_INVALID_STATUS_CODE' })
    calls.push('failed')
    response.writeHead(204)
    response.end()
  })
  t.equal(response.status, 204)
  t.same(calls, ['failed', 'written'])
})
