// The app of a typical product in a process of its own, so that an agent can be loaded before it. Writes its address to standard output.
import { startApp } from './app.ts'
import { product } from './product.ts'

const { url } = await startApp({ after: () => {} }, product)
console.log(url)
