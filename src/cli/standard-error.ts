// Where a command says what went wrong, unless its caller says otherwise: standard output may be a file or a script's.

export function toStandardError(line: string): void {
  process.stderr.write(`${line}\n`);
}
