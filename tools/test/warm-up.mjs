// Fills V8's compile cache with what most test files and the services that they start import: else each of the first ones compiles all of it.
import 'tap'
import '../../service/app.ts'
import '../../test/support/app.ts'
