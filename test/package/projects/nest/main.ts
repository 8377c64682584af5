import 'reflect-metadata'
import assert from 'node:assert/strict'
import { Controller, Get, Module, Post, Req } from '@nestjs/common'
import { NestFactory } from '@nestjs/core'
import { FastifyAdapter, RouteConfig } from '@nestjs/platform-fastify'
import type { NestFastifyApplication } from '@nestjs/platform-fastify'
import type { FastifyRequest } from 'fastify'
import prism from 'fastify-prism'

@Controller()
class CitiesController {
  @Get('cities')
  @RouteConfig({ cache: { ttl: '1m', tags: ['cities'] } })
  cities () {
    return { at: process.hrtime.bigint().toString() }
  }

  @Post('sign-in')
  async signIn (@Req() request: FastifyRequest) {
    await request.session.signIn('ada')
    return {}
  }

  @Get('me')
  @RouteConfig({ session: 'required' })
  me (@Req() request: FastifyRequest) {
    return { user: request.session.userId }
  }
}

@Module({ controllers: [CitiesController] })
class AppModule {}

const nest = await NestFactory.create<NestFastifyApplication>(AppModule, new FastifyAdapter(), { logger: ['error'] })
await nest.register(prism, { redis: { url: process.env.REDIS_URL ?? '', prefix: 'nest:' }, session: { secrets: [process.env.SESSION_SECRET ?? ''] } })
await nest.init()
const app = nest.getHttpAdapter().getInstance()
await app.ready()

const first = await app.inject('/cities')
let second = first
do second = await app.inject('/cities')
while (String(second.headers['cache-status']).includes('miss'))
const signedOut = await app.inject('/me')
const { cookies: [cookie] } = await app.inject({ method: 'POST', url: '/sign-in' })
const me = await app.inject({ url: '/me', cookies: { [cookie?.name ?? '']: cookie?.value ?? '' } })
await nest.close()
assert.match(String(second.headers['cache-status']), /hit/)
assert.equal(second.body, first.body)
assert.equal(signedOut.statusCode, 401)
assert.deepEqual(me.json(), { user: 'ada' })
