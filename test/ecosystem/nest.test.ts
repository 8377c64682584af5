import 'reflect-metadata'
import { Controller, Get, Module, Param, Req, StreamableFile } from '@nestjs/common'
import { NestFactory } from '@nestjs/core'
import { FastifyAdapter, RouteConfig } from '@nestjs/platform-fastify'
import type { FastifyInstance } from 'fastify'
import { assertNeighbour } from './support/neighbour.ts'

let runs = 0

/** Decorators are applied as functions: Node strips types, and no decorators. */
class Cities {
  one (id: string) { return { id, run: ++runs } }
  file () { return new StreamableFile(Buffer.from('a file')) }
  greeting (request: any) { return { user: request.session.userId ?? 'guest' } }
}

function decorate (name: keyof Cities, path: string, parameter?: ParameterDecorator): void {
  const descriptor = Object.getOwnPropertyDescriptor(Cities.prototype, name) as PropertyDescriptor
  parameter?.(Cities.prototype, name, 0)
  RouteConfig({ cache: { ttl: '5m' } })(Cities.prototype, name, descriptor)
  Get(path)(Cities.prototype, name, descriptor)
}

decorate('one', ':id', Param('id'))
decorate('file', 'file/one')
decorate('greeting', 'user/greeting', Req())
Controller('cities')(Cities)
class App {}
Module({ controllers: [Cities] })(App)

await assertNeighbour({
  packages: ['@nestjs/platform-fastify', '@nestjs/core', '@nestjs/common'],
  after: async (app: FastifyInstance) => {
    const nest = await NestFactory.create(App, new FastifyAdapter(app as any), { logger: false })
    await nest.init()
  },
  features: {
    'methods of a controller are cached, and not shared where they read the session': async ({ t, client }) => {
      const { body } = await client.get('/cities/1')
      t.same((await client.hit('/cities/1')).body, body)
      t.same((await client.get('/cities/user/greeting')).body, { user: 'guest' })
      await client.post('/sign-in/ada')
      t.same((await client.get('/cities/user/greeting')).body, { user: 'ada' })
    },
    'a StreamableFile is cached': async ({ t, client }) => {
      t.equal((await client.get('/cities/file/one')).text, 'a file')
      t.equal((await client.hit('/cities/file/one')).text, 'a file')
    }
  }
})
