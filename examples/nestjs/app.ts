import 'reflect-metadata'
import { Controller, Get, Module, Param, Post, Req } from '@nestjs/common'
import { NestFactory } from '@nestjs/core'
import { FastifyAdapter, RouteConfig, type NestFastifyApplication } from '@nestjs/platform-fastify'
import Fastify, { type FastifyRequest } from 'fastify'
import prism from 'fastify-prism'

let runs = 0

@Controller('cities')
class CitiesController {
  @Get(':id')
  @RouteConfig({ cache: { ttl: '5m', tags: ['cities'] } })
  city (@Param('id') id: string) {
    return { id, run: ++runs }
  }
}

@Controller()
class AccountController {
  @Post('sign-in/:name')
  @RouteConfig({ rateLimit: { quota: 5 } })
  async signIn (@Req() request: FastifyRequest, @Param('name') name: string) {
    await request.session.signIn(name) // after you have verified the password
    return {}
  }

  @Get('account')
  @RouteConfig({ session: 'required' })
  account (@Req() request: FastifyRequest) {
    return { user: request.session.userId }
  }
}

@Module({ controllers: [CitiesController, AccountController] })
class AppModule {}

const fastify = Fastify()
// Before Nest declares its routes.
await fastify.register(prism, { redis: { url: process.env.REDIS_URL, prefix: 'nestjs:' }, session: { secrets: [process.env.SESSION_SECRET ?? ''] } })
const app = await NestFactory.create<NestFastifyApplication>(AppModule, new FastifyAdapter(fastify as never), { logger: ['error', 'warn'] })
await app.listen(Number(process.env.PORT ?? 3000), '127.0.0.1')
console.log(await app.getUrl())
