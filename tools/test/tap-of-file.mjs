// What a file that shares its process imports as `tap`: its root is the subtest of the file.
export const current = { test: undefined }

export default new Proxy({}, {
  get (_, name) {
    const value = current.test[name]
    return typeof value === 'function' ? value.bind(current.test) : value
  }
})

export const test = (...given) => current.test.test(...given)
