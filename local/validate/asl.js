// Checks a state machine with AWS's own language service for the Amazon States
// Language, which is what AWS's editors check with: its schema, and the rules
// that no schema can say, such as states that nothing leads to.
//
// usage: node asl.js FOLDER FILE   (FOLDER: where the npm packages are installed)
const fs = require("fs");
const path = require("path");
const { createRequire } = require("module");

const [folder, file] = process.argv.slice(2);
const installed = createRequire(path.resolve(folder) + path.sep);
const { getLanguageService } = installed("amazon-states-language-service");
const { TextDocument } = installed("vscode-languageserver-textdocument");

const text = fs.readFileSync(file, "utf8");
const machine = JSON.parse(text); // the service takes half a document for a whole one
if (machine.QueryLanguage && machine.QueryLanguage !== "JSONPath") {
  throw new Error(`${file}: JSONPath is expected, not ${machine.QueryLanguage}`);
}

const service = getLanguageService({});
const document = TextDocument.create("file:///" + file, "asl", 1, text);
Promise.resolve(service.doValidation(document, service.parseJSONDocument(document))).then((findings) => {
  for (const finding of findings) {
    console.error(`${file}:${finding.range.start.line + 1}:${finding.range.start.character + 1}: ${finding.message}`);
  }
  console.log(`${file}: ${Object.keys(machine.States).length} states, ${findings.length} findings of AWS's language service`);
  process.exitCode = findings.length ? 1 : 0;
});
