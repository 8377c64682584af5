const { default: prism } = require('fastify-prism')
console.log(JSON.stringify(typeof prism))
