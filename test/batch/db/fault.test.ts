import { expect, test } from 'vitest';
import { describe, withVerifiedTls } from '../../../src/batch/db/address.ts';
import { DatabaseError, faultOf, faultOfSqlite, type DatabaseFault } from '../../../src/batch/db/fault.ts';

const error = (fields: object, message = 'x'): Error => Object.assign(new Error(message), fields);

test.for<[string, unknown, DatabaseFault]>([
  ['a connection that is refused', error({ code: 'ECONNREFUSED' }), 'gone'],
  ['of two addresses neither', Object.assign(new AggregateError([]), { code: 'ECONNREFUSED' }), 'gone'],
  ['a socket that is not there', error({ code: 'ENOENT', syscall: 'connect' }), 'gone'],
  ['a certificate that is not there', error({ code: 'ENOENT', syscall: 'open' }), 'other'],
  ['no connection free in time', error({}, 'timeout exceeded when trying to connect'), 'gone'],
  ['no answer in time', error({}, 'Query read timeout'), 'gone'],
  ['a connection that ended', error({}, 'Connection terminated unexpectedly'), 'gone'],
  ['starting', error({ code: '57P03' }), 'gone'],
  ['too many connections', error({ code: '53300' }), 'gone'],
  ['a statement that took too long', error({ code: '57014' }), 'other'],
  ['no room', error({ code: '53100' }), 'full'],
  ['out of memory', error({ code: '53200' }), 'other'],
  ['serialisation', error({ code: '40001' }), 'conflict'],
  ['a key that is there', error({ code: '23505' }), 'unique'],
  ['a reference to nothing', error({ code: '23503' }), 'other'],
  ['the words of a lost line in an error of the database', error({ code: '22000' }, 'Connection terminated'), 'other'],
  ['ours', new DatabaseError('x', 'full'), 'full'],
  ['no error', 'Connection terminated', 'other'],
])('%s', ([, thrown, fault]) => expect(faultOf(thrown)).toBe(fault));

test.for<[string, number, DatabaseFault]>([
  ['SQLITE_FULL', 13, 'full'],
  ['SQLITE_IOERR_SHMSIZE', 4874, 'full'],
  ['SQLITE_BUSY_SNAPSHOT', 517, 'conflict'],
  ['SQLITE_CONSTRAINT_UNIQUE', 2067, 'unique'],
  ['SQLITE_CONSTRAINT_PRIMARYKEY', 1555, 'unique'],
  ['SQLITE_CONSTRAINT_NOTNULL', 1299, 'other'],
  ['SQLITE_CORRUPT', 11, 'other'],
])('%s', ([, errcode, fault]) => expect(faultOfSqlite(errcode)).toBe(fault));

test.for([
  ['postgres://user:secret@db.example:5433/lanyard?sslmode=require', 'db.example:5433/lanyard'],
  ['postgresql://user:secret@[::1]/lanyard', '[::1]/lanyard'],
  ['postgres://user:secret@/lanyard?host=/var/run/postgresql', '/var/run/postgresql/lanyard'],
  ['postgres://user:secret@/lanyard', 'local/lanyard'],
  ['postgres://user:sec ret:@:x/', 'PostgreSQL'],
] as const)('%s is told as %s', ([url, told]) => expect(describe(url)).toBe(told));

test.for([
  ['postgres://h/d', 'postgres://h/d'],
  ['postgres://h/d?sslmode=disable', 'postgres://h/d?sslmode=disable'],
  ['postgres://h/d?sslmode=require', 'postgres://h/d?sslmode=verify-full'],
  ['postgres://h/d?a=b&sslmode=verify-ca&sslrootcert=/x', 'postgres://h/d?a=b&sslmode=verify-full&sslrootcert=/x'],
  ['postgres://h/d?sslmode=no-verify', 'postgres://h/d?sslmode=no-verify'],
  ['postgres://h/d?sslmode=require&uselibpqcompat=true', 'postgres://h/d?sslmode=require&uselibpqcompat=true'],
] as const)('%s is asked for as %s', ([url, asked]) => expect(withVerifiedTls(url)).toBe(asked));
