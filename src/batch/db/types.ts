// PostgreSQL's types as JavaScript's, for our connections only: pg's own table is the process'.
import type { CustomTypesConfig } from 'pg';

/** The oids of pg_type. `count(*)` is an int8, and a `sum` of int8 a numeric. */
const INT8 = 20;
const NUMERIC = 1700;

/** Whole numbers as number where they are exact; bytea as Buffer, which is pg's own way. */
export function typesOf(defaults: CustomTypesConfig): CustomTypesConfig {
  return {
    getTypeParser(oid: number, format?: 'text' | 'binary') {
      if (oid === INT8 || oid === NUMERIC) return exactNumber;
      return format === undefined ? defaults.getTypeParser(oid) : defaults.getTypeParser(oid, format);
    },
  };
}

/** @throws RangeError for a whole number beyond 2^53, as node:sqlite does */
function exactNumber(text: string): number {
  const number = Number(text);
  if (Number.isSafeInteger(number) || text.includes('.')) return number;
  throw new RangeError(`a number of the database is too large to be exact: ${text}`);
}
