import { Agent, request } from 'node:http'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import type { Server } from '../server.ts'
import { addressOf, users } from './workloads.ts'

const concurrent = 32

/** Signs all users in, each from its own address, and returns their cookies. */
export async function signInAll (server: Server): Promise<string[]> {
  const agent = new Agent({ keepAlive: true, maxSockets: concurrent })
  const cookies = Array<string>(users)
  const next = Array.from({ length: users }, (_, user) => user).values()
  await Promise.all(Array.from({ length: concurrent }, async () => {
    for (const user of next) cookies[user] = await signIn(server, user, agent)
  }))
  agent.destroy()
  return cookies
}

async function signIn (server: Server, user: number, agent: Agent): Promise<string> {
  const body = JSON.stringify({ user: `user-${user}` })
  const sent = request(`${server.url}/sign-in`, { method: 'POST', agent, headers: { 'content-type': 'application/json', 'content-length': body.length, 'x-forwarded-for': addressOf(user) } })
  sent.end(body)
  const [response] = await once(sent, 'response')
  const told = await text(response)
  if (response.statusCode !== 200) throw new Error(`${server.name} refused a sign-in with ${response.statusCode}: ${told}`)
  return response.headers['set-cookie'].map((cookie: string) => cookie.split(';')[0]).join('; ')
}
