/* Reads and sorted writes of Berkeley DB's tables, many rows in one call; and what is kept of them.

   It shares the handles of the package berkeleydb, whose C interface has their layout, and does
   what atop/engine/rows.py does without it: the same calls with less around each. Nothing is
   kept between calls. A cursor that is opened here is closed here. The interpreter is let go of
   while Berkeley DB works on more than one row. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "berkeleydb.h"

#define ID_BYTES 8
#define ROW_BYTES 96       /* about what a row of the index takes in a bulk buffer */
#define PAGE_BYTES 4096    /* the least that Berkeley DB takes for one */
#define BULK_BYTES 262144  /* the most that is used, but for larger rows */
#define RECORD_BYTES 4096  /* most records are smaller */
#define WRITES_AT_ONCE 512
#define LENGTH_BYTES 4     /* of a key or a value in the row of a commit */

/* What the row of a commit says of a key. */
enum { EXISTED = 1, EXISTS = 2 };

static BERKELEYDB_api *berkeleydb_api;

/* Memory that grows. */
typedef struct {
    char *data;
    size_t size;
} Buffer;

static int
grow(Buffer *buffer, size_t size)
{
    char *data;

    if (size <= buffer->size)
        return 0;
    data = realloc(buffer->data, size);
    if (data == NULL)
        return ENOMEM;
    buffer->data = data;
    buffer->size = size;
    return 0;
}

static void
set_memory(DBT *dbt, Buffer *buffer)
{
    memset(dbt, 0, sizeof(*dbt));
    dbt->data = buffer->data;
    dbt->ulen = (u_int32_t)buffer->size;
    dbt->flags = DB_DBT_USERMEM;
}

/* Raise the package's own exception, which it finds by one of its handles. */
static PyObject *
raise_error(PyObject *handle, int error)
{
    (void)berkeleydb_api->makeDBError(error, handle);
    return NULL;
}

/* Close a cursor, unless it was not opened; -1 if something has `failed` before, or this does.
   What has failed is to be raised before: closing may change what the package says of it. */
static int
close_cursor(PyObject *handle, DBC *dbc, int failed)
{
    int error = dbc == NULL ? 0 : dbc->close(dbc);

    if (error != 0 && !failed)
        raise_error(handle, error);
    return failed || error != 0 ? -1 : 0;
}

static DB *
table_of(PyObject *handle)
{
    DB *db;

    if (!DBObject_Check(handle)) {
        PyErr_Format(PyExc_TypeError, "a DB is needed, not %R", Py_TYPE(handle));
        return NULL;
    }
    db = ((DBObject *)handle)->db;
    if (db == NULL)
        raise_error(handle, EINVAL);
    return db;
}

static int
transaction_of(PyObject *handle, DB_TXN **txn)
{
    *txn = NULL;
    if (handle == Py_None)
        return 0;
    if (!DBTxnObject_Check(handle)) {
        PyErr_Format(PyExc_TypeError, "a DBTxn is needed, not %R", Py_TYPE(handle));
        return -1;
    }
    *txn = ((DBTxnObject *)handle)->txn;
    if (*txn == NULL) {
        raise_error(handle, EINVAL);
        return -1;
    }
    return 0;
}

/* A bound: bytes, or None for NULL. */
static int
bound_of(PyObject *value, const char **data, Py_ssize_t *size)
{
    *data = NULL;
    *size = 0;
    if (value == Py_None)
        return 0;
    if (!PyBytes_Check(value)) {
        PyErr_Format(PyExc_TypeError, "a bound is bytes or None, not %R", Py_TYPE(value));
        return -1;
    }
    *data = PyBytes_AS_STRING(value);
    *size = PyBytes_GET_SIZE(value);
    return 0;
}

/* Get where `dbc` has to go with `flag`, to a key if that is not NULL. No value is copied. The key
   that is found goes to the cursor's own memory: a bulk read that is given memory for it takes a
   buffer of the values to be endless where a key does not fit (`key_small` in db_cam.c, 5.3.28). */
static int
go_to(DBC *dbc, const void *key, size_t size, u_int32_t flag)
{
    DBT at, none;

    memset(&at, 0, sizeof(at));
    at.data = (void *)key;
    at.size = (u_int32_t)size;
    memset(&none, 0, sizeof(none));
    none.flags = DB_DBT_PARTIAL;
    return dbc->get(dbc, &at, &none, flag);
}

static int
record_number(DBC *dbc, db_recno_t *number)
{
    DBT none, data;

    memset(&none, 0, sizeof(none));
    memset(&data, 0, sizeof(data));
    data.data = number;
    data.ulen = sizeof(*number);
    data.flags = DB_DBT_USERMEM;
    return dbc->get(dbc, &none, &data, DB_GET_RECNO);
}

/* How many keys stand before `key`; NULL is the end of the table. */
static int
rank_of(DBC *dbc, const char *key, size_t size, long long *rank)
{
    db_recno_t number;
    int error = DB_NOTFOUND;

    *rank = 0;
    if (key != NULL) {
        error = go_to(dbc, key, size, DB_SET_RANGE);
        if (error == 0 && (error = record_number(dbc, &number)) == 0)
            *rank = (long long)number - 1;
    }
    if (error == DB_NOTFOUND) {
        error = go_to(dbc, NULL, 0, DB_LAST);
        if (error == 0 && (error = record_number(dbc, &number)) == 0)
            *rank = (long long)number;
        if (error == DB_NOTFOUND)
            error = 0;
    }
    return error;
}

typedef struct {
    const char *low, *high;
    size_t low_size, high_size;
    long long limit, skip;
    int reverse;
} Range;

/* Where a scan begins: what its first read is given. */
typedef struct {
    u_int32_t flag;
    db_recno_t number;
    const void *key;
    size_t size;
} Start;

static int
find_start(DBC *dbc, Range *range, Start *start)
{
    long long first, last;
    db_recno_t number;
    int error;

    if (range->reverse) {
        if ((error = rank_of(dbc, range->high, range->high_size, &last)) != 0)
            return error;
        first = 0;
        if (range->low != NULL &&
            (error = rank_of(dbc, range->low, range->low_size, &first)) != 0)
            return error;
        last -= range->skip;
        if (last - first > range->limit)
            first = last - range->limit;
        if (last <= first)
            return DB_NOTFOUND;
        range->limit = last - first;
    }
    else if (range->skip > 0) {
        if ((error = go_to(dbc, range->low, range->low_size,
                           range->low == NULL ? DB_FIRST : DB_SET_RANGE)) != 0 ||
            (error = record_number(dbc, &number)) != 0)
            return error;
        first = (long long)number - 1 + range->skip;
        if (first >= 0xFFFFFFFFLL)
            return DB_NOTFOUND;
    }
    else {
        start->flag = range->low == NULL ? DB_FIRST : DB_SET_RANGE;
        start->key = range->low;
        start->size = range->low_size;
        return 0;
    }
    start->flag = DB_SET_RECNO;
    start->number = (db_recno_t)(first + 1);
    start->key = &start->number;
    start->size = sizeof(start->number);
    return 0;
}

/* Read as many rows as fit, from `start` on, or the next ones where that is NULL. */
static int
read_bulk(DBC *dbc, const Start *start, Buffer *bulk, DBT *data)
{
    u_int32_t flag = start == NULL ? DB_NEXT : start->flag;
    int error;
    DBT at;

    for (;;) {
        memset(&at, 0, sizeof(at));
        if (start != NULL) {
            at.data = (void *)start->key;
            at.size = (u_int32_t)start->size;
        }
        set_memory(data, bulk);
        error = dbc->get(dbc, &at, data, flag | DB_MULTIPLE_KEY);
        if (error != DB_BUFFER_SMALL)
            return error;
        size_t wanted = bulk->size + data->size + PAGE_BYTES;
        if ((error = grow(bulk, wanted & ~(size_t)1023)) != 0)
            return error;
    }
}

static int
is_before(const char *one, size_t one_size, const char *two, size_t two_size)
{
    int order = memcmp(one, two, one_size < two_size ? one_size : two_size);

    return order < 0 || (order == 0 && one_size < two_size);
}

/* A tuple of the two, which takes them over; NULL if the second one is. */
static PyObject *
pair_with(PyObject *first, PyObject *second)
{
    PyObject *pair = second == NULL ? NULL : PyTuple_New(2);

    if (pair == NULL) {
        Py_DECREF(first);
        Py_XDECREF(second);
        return NULL;
    }
    PyTuple_SET_ITEM(pair, 0, first);
    PyTuple_SET_ITEM(pair, 1, second);
    return pair;
}

/* Add the rows of a bulk buffer to a list; -1 on an error, 1 when there is no more to come. */
static int
add_rows(PyObject *rows, DBT *bulk, const Range *range, int keys_only)
{
    void *place;
    u_int8_t *key, *value;
    u_int32_t key_size, value_size;

    DB_MULTIPLE_INIT(place, bulk);
    while (PyList_GET_SIZE(rows) < range->limit) {
        PyObject *row;
        int failed;

        DB_MULTIPLE_KEY_NEXT(place, bulk, key, key_size, value, value_size);
        if (place == NULL)
            return 0;
        if (range->high != NULL && !range->reverse &&
            !is_before((char *)key, key_size, range->high, range->high_size))
            return 1;
        row = PyBytes_FromStringAndSize((char *)key, key_size);
        if (row != NULL && !keys_only)
            row = pair_with(row, PyBytes_FromStringAndSize((char *)value, value_size));
        if (row == NULL)
            return -1;
        failed = PyList_Append(rows, row);
        Py_DECREF(row);
        if (failed)
            return -1;
    }
    return 1;
}

/* The rows of a range as a list, or NULL. */
static PyObject *
read_rows(PyObject *handle, Range *range, int keys_only)
{
    DB *db = table_of(handle);
    PyObject *rows = db == NULL ? NULL : PyList_New(0);
    Buffer bulk = {NULL, 0};
    DBC *dbc = NULL;
    Start start;
    DBT data;
    size_t wanted;
    int error, failed, more = 0;

    if (rows == NULL || range->limit <= 0)
        return rows;
    wanted = range->limit < BULK_BYTES / ROW_BYTES ? (size_t)range->limit * ROW_BYTES : BULK_BYTES;
    wanted = (wanted + PAGE_BYTES) & ~(size_t)1023;
    Py_BEGIN_ALLOW_THREADS
    if ((error = grow(&bulk, wanted)) == 0 && (error = db->cursor(db, NULL, &dbc, 0)) == 0 &&
        (error = find_start(dbc, range, &start)) == 0)
        error = read_bulk(dbc, &start, &bulk, &data);
    Py_END_ALLOW_THREADS
    while (error == 0 && (more = add_rows(rows, &data, range, keys_only)) == 0) {
        Py_BEGIN_ALLOW_THREADS
        error = read_bulk(dbc, NULL, &bulk, &data);
        Py_END_ALLOW_THREADS
    }
    if (error == DB_NOTFOUND)
        error = 0;
    failed = more < 0 || error != 0;
    if (error != 0)
        raise_error(handle, error);
    if (close_cursor(handle, dbc, failed) < 0 || (range->reverse && PyList_Reverse(rows) < 0))
        Py_CLEAR(rows);
    free(bulk.data);
    return rows;
}

static int
range_of(PyObject *low, PyObject *high, Range *range)
{
    Py_ssize_t low_size, high_size;

    if (bound_of(low, &range->low, &low_size) < 0 || bound_of(high, &range->high, &high_size) < 0)
        return -1;
    range->low_size = (size_t)low_size;
    range->high_size = (size_t)high_size;
    return 0;
}

/* The same of the range that is in arguments of that format. */
static PyObject *
read_asked(PyObject *args, const char *format, int keys_only)
{
    PyObject *handle, *low, *high;
    Range range;

    if (!PyArg_ParseTuple(args, format, &handle, &low, &high, &range.limit, &range.skip,
                          &range.reverse) ||
        range_of(low, high, &range) < 0)
        return NULL;
    return read_rows(handle, &range, keys_only);
}

PyDoc_STRVAR(scan_doc,
"scan(table, low, high, limit, skip, reverse) -> list\n\n"
"The rows of a range, as pairs of key and value. To skip or go backwards, the table needs\n"
"record numbers.");

static PyObject *
scan(PyObject *Py_UNUSED(module), PyObject *args)
{
    return read_asked(args, "OOOLLp:scan", 0);
}

PyDoc_STRVAR(keys_doc,
"keys(table, low, high, limit, skip, reverse) -> list\n\nThe keys of a range.");

static PyObject *
keys(PyObject *Py_UNUSED(module), PyObject *args)
{
    return read_asked(args, "OOOLLp:keys", 1);
}

PyDoc_STRVAR(count_doc,
"count(table, low, high) -> int\n\nHow many keys a range has; the table needs record numbers.");

static PyObject *
count(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *handle, *low, *high;
    long long first = 0, last = 0;
    DBC *dbc = NULL;
    Range range;
    DB *db;
    int error;

    if (!PyArg_ParseTuple(args, "OOO:count", &handle, &low, &high) ||
        range_of(low, high, &range) < 0 || (db = table_of(handle)) == NULL)
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    error = db->cursor(db, NULL, &dbc, 0);
    if (error == 0 && range.low != NULL)
        error = rank_of(dbc, range.low, range.low_size, &first);
    if (error == 0)
        error = rank_of(dbc, range.high, range.high_size, &last);
    Py_END_ALLOW_THREADS
    if (error != 0)
        raise_error(handle, error);
    if (close_cursor(handle, dbc, error != 0) < 0)
        return NULL;
    return PyLong_FromLongLong(last > first ? last - first : 0);
}

/* The value of a key, which `buffer` has if it is found; its size. */
static int
fetch(DBC *dbc, const char *key, size_t size, Buffer *buffer, u_int32_t *found)
{
    DBT at, data;
    int error;

    memset(&at, 0, sizeof(at));
    at.data = (void *)key;
    at.size = (u_int32_t)size;
    at.ulen = (u_int32_t)size;
    at.flags = DB_DBT_USERMEM | DB_DBT_READONLY;
    for (;;) {
        set_memory(&data, buffer);
        error = dbc->get(dbc, &at, &data, DB_SET);
        if (error != DB_BUFFER_SMALL)
            break;
        if ((error = grow(buffer, data.size)) != 0)
            return error;
    }
    *found = data.size;
    return error;
}

/* Values of keys, one after the other, got with one cursor. */
typedef struct {
    PyObject *table;
    DBC *dbc;
    Buffer buffer;
} Fetcher;

static int
open_fetcher(Fetcher *fetcher, PyObject *table)
{
    DB *db = table_of(table);
    int error;

    memset(fetcher, 0, sizeof(*fetcher));
    fetcher->table = table;
    if (db == NULL)
        return -1;
    if ((error = grow(&fetcher->buffer, RECORD_BYTES)) == 0)
        error = db->cursor(db, NULL, &fetcher->dbc, 0);
    if (error == 0)
        return 0;
    raise_error(table, error);
    return -1;
}

static int
close_fetcher(Fetcher *fetcher, int failed)
{
    free(fetcher->buffer.data);
    return close_cursor(fetcher->table, fetcher->dbc, failed);
}

/* A new reference to the value, or to None; NULL on an error. */
static PyObject *
fetched(Fetcher *fetcher, const char *key, size_t size)
{
    u_int32_t found = 0;
    int error;

    Py_BEGIN_ALLOW_THREADS
    error = fetch(fetcher->dbc, key, size, &fetcher->buffer, &found);
    Py_END_ALLOW_THREADS
    if (error == DB_NOTFOUND)
        Py_RETURN_NONE;
    if (error != 0)
        return raise_error(fetcher->table, error);
    return PyBytes_FromStringAndSize(fetcher->buffer.data, found);
}

PyDoc_STRVAR(getmany_doc,
"getmany(table, keys) -> list\n\nThe values of a list of keys; None for what is not there.");

static PyObject *
getmany(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *handle, *given, *keys, *values = NULL;
    Fetcher fetcher;

    if (!PyArg_ParseTuple(args, "OO:getmany", &handle, &given) ||
        (keys = PySequence_Tuple(given)) == NULL)
        return NULL;
    if (open_fetcher(&fetcher, handle) == 0)
        values = PyList_New(PyTuple_GET_SIZE(keys));
    for (Py_ssize_t at = 0; values != NULL && at < PyTuple_GET_SIZE(keys); at++) {
        PyObject *value = NULL, *key = PyTuple_GET_ITEM(keys, at);

        if (PyBytes_Check(key))
            value = fetched(&fetcher, PyBytes_AS_STRING(key), (size_t)PyBytes_GET_SIZE(key));
        else
            PyErr_Format(PyExc_TypeError, "a key is bytes, not %R", Py_TYPE(key));
        if (value == NULL)
            Py_CLEAR(values);
        else
            PyList_SET_ITEM(values, at, value);
    }
    if (close_fetcher(&fetcher, values == NULL) < 0)
        Py_CLEAR(values);
    Py_DECREF(keys);
    return values;
}

/* Make pairs of the keys in `rows`: each with the record of its item, or None if it is known. */
static int
add_records(PyObject *rows, PyObject *items, PyObject *known)
{
    Fetcher fetcher = {NULL, NULL, {NULL, 0}};
    int failed = 0;

    for (Py_ssize_t at = 0; !failed && at < PyList_GET_SIZE(rows); at++) {
        PyObject *key = PyList_GET_ITEM(rows, at), *record = NULL, *item_id, *row;
        Py_ssize_t size = PyBytes_GET_SIZE(key), id_size = size < ID_BYTES ? size : ID_BYTES;
        const char *id_bytes = PyBytes_AS_STRING(key) + size - id_size;
        int is_known;

        if ((item_id = PyBytes_FromStringAndSize(id_bytes, id_size)) == NULL) {
            failed = 1;
            break;
        }
        is_known = PyDict_CheckExact(known) ? PyDict_Contains(known, item_id)
                                            : PySequence_Contains(known, item_id);
        if (is_known > 0)
            record = Py_NewRef(Py_None);
        else if (is_known == 0 && (fetcher.dbc != NULL || open_fetcher(&fetcher, items) == 0))
            record = fetched(&fetcher, id_bytes, (size_t)id_size);
        Py_DECREF(item_id);
        row = record == NULL ? NULL : PyTuple_Pack(2, key, record);
        Py_XDECREF(record);
        if (row == NULL || PyList_SetItem(rows, at, row) < 0)
            failed = 1;
    }
    return close_fetcher(&fetcher, failed);
}

PyDoc_STRVAR(join_doc,
"join(index, items, low, high, limit, skip, reverse, known) -> list\n\n"
"The keys of a range of the index, each with the record of the item that it ends in;\n"
"None for the ids that are in `known`.");

static PyObject *
join(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *index, *items, *low, *high, *known, *rows;
    Range range;

    if (!PyArg_ParseTuple(args, "OOOOLLpO:join", &index, &items, &low, &high, &range.limit,
                          &range.skip, &range.reverse, &known) ||
        range_of(low, high, &range) < 0)
        return NULL;
    rows = read_rows(index, &range, 1);
    if (rows != NULL && add_records(rows, items, known) < 0)
        Py_CLEAR(rows);
    return rows;
}

PyDoc_STRVAR(get_doc, "get(table, key) -> bytes or None\n\nThe value of a key.");

static PyObject *
get(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    char memory[RECORD_BYTES];
    Buffer larger = {NULL, 0};
    PyObject *value;
    DBT key, data;
    DB *db;
    int error;

    if (count != 2 || !PyBytes_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "get() takes a DB and a key, which is bytes");
        return NULL;
    }
    if ((db = table_of(args[0])) == NULL)
        return NULL;
    memset(&key, 0, sizeof(key));
    key.data = PyBytes_AS_STRING(args[1]);
    key.size = (u_int32_t)PyBytes_GET_SIZE(args[1]);
    memset(&data, 0, sizeof(data));
    data.data = memory;
    data.ulen = sizeof(memory);
    data.flags = DB_DBT_USERMEM;
    Py_BEGIN_ALLOW_THREADS
    error = db->get(db, NULL, &key, &data, 0);
    while (error == DB_BUFFER_SMALL && (error = grow(&larger, data.size)) == 0) {
        set_memory(&data, &larger);
        error = db->get(db, NULL, &key, &data, 0);
    }
    Py_END_ALLOW_THREADS
    if (error == 0)
        value = PyBytes_FromStringAndSize(data.data, data.size);
    else
        value = error == DB_NOTFOUND ? Py_NewRef(Py_None) : raise_error(args[0], error);
    free(larger.data);
    return value;
}

PyDoc_STRVAR(log_end_doc,
"log_end(environment) -> tuple\n\n"
"The number of the log file that is being written, and where in it the log ends.");

static PyObject *
log_end(PyObject *Py_UNUSED(module), PyObject *handle)
{
    DB_LOG_STAT *status = NULL;
    PyObject *end;
    DB_ENV *env;
    int error;

    if (!DBEnvObject_Check(handle)) {
        PyErr_Format(PyExc_TypeError, "a DBEnv is needed, not %R", Py_TYPE(handle));
        return NULL;
    }
    env = ((DBEnvObject *)handle)->db_env;
    error = env == NULL ? EINVAL : env->log_stat(env, &status, 0);
    if (error != 0)
        return raise_error(handle, error);
    end = Py_BuildValue("(II)", status->st_cur_file, status->st_cur_offset);
    free(status);
    return end;
}

/* Some writes that are made without the interpreter; what has no value is deleted. */
typedef struct {
    DBT keys[WRITES_AT_ONCE], values[WRITES_AT_ONCE];
    bool deletes[WRITES_AT_ONCE];
    int count;
} Writes;

static int
delete_row(DBC *dbc, DBT *key)
{
    DBT nothing;
    int error;

    memset(&nothing, 0, sizeof(nothing));
    nothing.flags = DB_DBT_USERMEM | DB_DBT_PARTIAL;
    error = dbc->get(dbc, key, &nothing, DB_SET);
    return error == 0 ? dbc->del(dbc, 0) : error;
}

static int
make_writes(DBC *dbc, Writes *writes)
{
    int error = 0;

    Py_BEGIN_ALLOW_THREADS
    for (int at = 0; error == 0 && at < writes->count; at++)
        error = writes->deletes[at]
                    ? delete_row(dbc, &writes->keys[at])
                    : dbc->put(dbc, &writes->keys[at], &writes->values[at], DB_KEYFIRST);
    Py_END_ALLOW_THREADS
    writes->count = 0;
    return error;
}

static void
set_bytes(DBT *dbt, PyObject *bytes)
{
    memset(dbt, 0, sizeof(*dbt));
    dbt->data = PyBytes_AS_STRING(bytes);
    dbt->size = (u_int32_t)PyBytes_GET_SIZE(bytes);
}

/* Write rows: `keys` and `pairs` are tuples, and keep their bytes alive. */
static int
write_rows(DBC *dbc, PyObject *keys, PyObject *pairs, Py_ssize_t most)
{
    Writes *writes = PyMem_Malloc(sizeof(Writes));
    Py_ssize_t count = PyTuple_GET_SIZE(keys);
    int error = 0;

    if (writes == NULL)
        return ENOMEM;
    writes->count = 0;
    for (Py_ssize_t at = 0; error == 0 && at < count; at++) {
        PyObject *key = PyTuple_GET_ITEM(keys, at), *pair = PyTuple_GET_ITEM(pairs, at), *value;

        if (!PyBytes_Check(key) || !PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2 ||
            ((value = PyTuple_GET_ITEM(pair, 0)) != Py_None && !PyBytes_Check(value))) {
            PyErr_SetString(PyExc_TypeError, "rows are bytes with pairs of bytes or None");
            error = -1;
            break;
        }
        writes->deletes[writes->count] = value == Py_None;
        if (value != Py_None && PyBytes_GET_SIZE(value) > most) {
            PyObject *size = PyLong_FromSsize_t(PyBytes_GET_SIZE(value));

            if (size != NULL)
                PyErr_SetObject(PyExc_OverflowError, size);
            Py_XDECREF(size);
            error = -1;
            break;
        }
        set_bytes(&writes->keys[writes->count], key);
        if (value != Py_None)
            set_bytes(&writes->values[writes->count], value);
        if (++writes->count == WRITES_AT_ONCE)
            error = make_writes(dbc, writes);
    }
    if (error == 0)
        error = make_writes(dbc, writes);
    PyMem_Free(writes);
    return error;
}

PyDoc_STRVAR(write_all_doc,
"write_all(table, transaction, keys, pairs, most) -> None\n\n"
"Put the first of each of the pairs under its key, in their order; delete what gets None.\n"
"Raises OverflowError, naming the size, for a value of more bytes than `most`.");

static PyObject *
write_all(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *handle, *txn_handle, *given_keys, *given_pairs, *keys, *pairs = NULL;
    DBC *dbc = NULL;
    Py_ssize_t most;
    DB_TXN *txn;
    DB *db;
    int error;

    if (!PyArg_ParseTuple(args, "OOOOn:write_all", &handle, &txn_handle, &given_keys,
                          &given_pairs, &most) ||
        (db = table_of(handle)) == NULL || transaction_of(txn_handle, &txn) < 0)
        return NULL;
    keys = PySequence_Tuple(given_keys);
    if (keys != NULL)
        pairs = PySequence_Tuple(given_pairs);
    if (pairs == NULL) {
        Py_XDECREF(keys);
        return NULL;
    }
    if (PyTuple_GET_SIZE(keys) != PyTuple_GET_SIZE(pairs)) {
        PyErr_SetString(PyExc_ValueError, "there are not as many keys as pairs");
        error = -1;
    }
    else if ((error = db->cursor(db, txn, &dbc, 0)) == 0)
        error = write_rows(dbc, keys, pairs, most);
    Py_DECREF(keys);
    Py_DECREF(pairs);
    if (error != 0 && !PyErr_Occurred())
        raise_error(handle, error);
    if (close_cursor(handle, dbc, error != 0) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* A length or a count, as the row of a commit has it. */
static char *
put_number(char *to, Py_ssize_t number)
{
    for (int shift = 24; shift >= 0; shift -= 8)
        *to++ = (char)(number >> shift);
    return to;
}

static char *
put_bytes(char *to, PyObject *bytes)
{
    memcpy(to, PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes));
    return to + PyBytes_GET_SIZE(bytes);
}

/* What a key had before, borrowed; NULL if it had nothing, or with an error. */
static PyObject *
value_before(PyObject *before, PyObject *key)
{
    PyObject *value = PyDict_GET_SIZE(before) ? PyDict_GetItemWithError(before, key) : NULL;

    if (value != NULL && !PyBytes_Check(value)) {
        PyErr_SetString(PyExc_TypeError, "what a key had before is bytes");
        return NULL;
    }
    return value;
}

/* How many bytes an image takes; -1 with an error. Nothing is run that could change what it has. */
static Py_ssize_t
size_of_image(PyObject *keys, PyObject *pairs, PyObject *before)
{
    Py_ssize_t count = PyList_GET_SIZE(keys), total = LENGTH_BYTES + count * (1 + LENGTH_BYTES);

    for (Py_ssize_t at = 0; at < count; at++) {
        PyObject *key = PyList_GET_ITEM(keys, at), *pair = PyList_GET_ITEM(pairs, at), *value;

        if (!PyBytes_CheckExact(key) || !PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2 ||
            !PyBool_Check(PyTuple_GET_ITEM(pair, 1))) {
            PyErr_SetString(PyExc_TypeError, "an image has bytes with pairs of a value and a bool");
            return -1;
        }
        value = value_before(before, key);
        if (value == NULL && PyErr_Occurred())
            return -1;
        total += PyBytes_GET_SIZE(key);
        if (value != NULL)
            total += LENGTH_BYTES + PyBytes_GET_SIZE(value);
        if (PyBytes_GET_SIZE(key) > UINT32_MAX ||
            (value != NULL && PyBytes_GET_SIZE(value) > UINT32_MAX)) {
            PyErr_SetString(PyExc_OverflowError, "a commit's row has no room for such bytes");
            return -1;
        }
    }
    return total;
}

static void
put_image(char *to, PyObject *keys, PyObject *pairs, PyObject *before)
{
    Py_ssize_t count = PyList_GET_SIZE(keys);

    to = put_number(to, count);
    for (Py_ssize_t at = 0; at < count; at++) {
        PyObject *pair = PyList_GET_ITEM(pairs, at);

        *to++ = (char)((PyTuple_GET_ITEM(pair, 1) == Py_True ? EXISTED : 0) |
                       (PyTuple_GET_ITEM(pair, 0) != Py_None ? EXISTS : 0));
    }
    for (Py_ssize_t at = 0; at < count; at++)
        to = put_number(to, PyBytes_GET_SIZE(PyList_GET_ITEM(keys, at)));
    for (Py_ssize_t at = 0; at < count; at++)
        to = put_bytes(to, PyList_GET_ITEM(keys, at));
    if (PyDict_GET_SIZE(before) == 0)
        return;
    for (Py_ssize_t at = 0; at < count; at++) {
        PyObject *value = PyDict_GetItemWithError(before, PyList_GET_ITEM(keys, at));

        if (value != NULL)
            to = put_number(to, PyBytes_GET_SIZE(value));
    }
    for (Py_ssize_t at = 0; at < count; at++) {
        PyObject *value = PyDict_GetItemWithError(before, PyList_GET_ITEM(keys, at));

        if (value != NULL)
            to = put_bytes(to, value);
    }
}

PyDoc_STRVAR(encode_image_doc,
"encode_image(keys, pairs, before) -> bytes\n\n"
"What a commit's row has of one table: see doc/format.rst.");

static PyObject *
encode_image(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    PyObject *image;
    Py_ssize_t size;

    if (count != 3 || !PyList_CheckExact(args[0]) || !PyList_CheckExact(args[1]) ||
        !PyDict_CheckExact(args[2]) || PyList_GET_SIZE(args[0]) != PyList_GET_SIZE(args[1]) ||
        PyList_GET_SIZE(args[0]) > UINT32_MAX) {
        PyErr_SetString(PyExc_TypeError, "encode_image() takes two lists as long, and a dict");
        return NULL;
    }
    if ((size = size_of_image(args[0], args[1], args[2])) < 0)
        return NULL;
    image = PyBytes_FromStringAndSize(NULL, size);
    if (image != NULL)
        put_image(PyBytes_AS_STRING(image), args[0], args[1], args[2]);
    return image;
}

static PyMethodDef methods[] = {
    {"count", count, METH_VARARGS, count_doc},
    {"encode_image", (PyCFunction)(void (*)(void))encode_image, METH_FASTCALL, encode_image_doc},
    {"get", (PyCFunction)(void (*)(void))get, METH_FASTCALL, get_doc},
    {"getmany", getmany, METH_VARARGS, getmany_doc},
    {"join", join, METH_VARARGS, join_doc},
    {"keys", keys, METH_VARARGS, keys_doc},
    {"log_end", log_end, METH_O, log_end_doc},
    {"scan", scan, METH_VARARGS, scan_doc},
    {"write_all", write_all, METH_VARARGS, write_all_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "atop.engine._native",
    .m_doc = "Reads and sorted writes of Berkeley DB's tables, many rows in one call.",
    .m_size = -1,
    .m_methods = methods,
};

/* Whether `module` is what this was compiled for: handles are laid out as its header says. */
static int
check_versions(PyObject *module)
{
    PyObject *ours = PyUnicode_FromFormat("%s %d %d %d", PY_BERKELEYDB_VERSION, DB_VERSION_MAJOR,
                                          DB_VERSION_MINOR, DB_VERSION_PATCH);
    PyObject *version = PyObject_GetAttrString(module, "__version__");
    PyObject *library = PyObject_CallMethod(module, "version", NULL), *theirs = NULL;
    int same = 0, major, minor, patch;

    if (version != NULL && library != NULL && ours != NULL &&
        PyArg_ParseTuple(library, "iii", &major, &minor, &patch))
        theirs = PyUnicode_FromFormat("%S %d %d %d", version, major, minor, patch);
    if (theirs != NULL) {
        same = PyUnicode_Compare(ours, theirs) == 0;
        if (!same)
            PyErr_Format(PyExc_ImportError, "compiled for berkeleydb %U, not %U", ours, theirs);
    }
    Py_XDECREF(ours);
    Py_XDECREF(version);
    Py_XDECREF(library);
    Py_XDECREF(theirs);
    return same ? 0 : -1;
}

/* The package's C interface. PyCapsule_Import() would look for it under another name. */
static int
find_interface(void)
{
    PyObject *module = PyImport_ImportModule("berkeleydb._berkeleydb"), *capsule;

    if (module == NULL)
        return -1;
    capsule = check_versions(module) < 0 ? NULL : PyObject_GetAttrString(module, "api");
    Py_DECREF(module);
    if (capsule == NULL)
        return -1;
    berkeleydb_api = PyCapsule_GetPointer(capsule, "_berkeleydb.api");
    Py_DECREF(capsule);
    if (berkeleydb_api == NULL)
        return -1;
    if (berkeleydb_api->api_version != PY_BERKELEYDB_API_VERSION) {
        PyErr_Format(PyExc_ImportError, "berkeleydb has version %u of its C interface, not %d",
                     berkeleydb_api->api_version, PY_BERKELEYDB_API_VERSION);
        return -1;
    }
    return 0;
}

PyMODINIT_FUNC
PyInit__native(void)
{
    if (find_interface() < 0)
        return NULL;
    return PyModule_Create(&definition);
}
