import { FastifyOtelInstrumentation } from '@fastify/otel'
import { trace } from '@opentelemetry/api'
import { InMemorySpanExporter, NodeTracerProvider, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-node'

const provider = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(new InMemorySpanExporter())] })
provider.register()
export const instrumentation = new FastifyOtelInstrumentation()
instrumentation.setTracerProvider(provider)

export const isTraced = (): boolean => trace.getActiveSpan() !== undefined
