/* Keys of indexes, and the first look at a pickle, as atop/native.py has them in Python.

   What is rare or wrong is left to Python, which also finds the words for it: so nothing here has
   an opinion of its own, and a value, a key or a pickle gets the same answer with and without. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <datetime.h>

enum { ID_BYTES = 8 };

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

typedef unsigned char Byte;

/* Keys; the layout is in doc/format.rst. */

enum { KEY_NONE = 0x10, KEY_NUMBER = 0x20, KEY_NAN = 0x30, KEY_TEXT = 0x50, KEY_DATE = 0x60,
       KEY_NAIVE = 0x70, KEY_AWARE = 0x80 };

enum { LONGEST = 10, NUMBER_SIZE = 10, DATE_SIZE = 5, DATETIME_SIZE = 9 };

static const double EXACT_INTS = 9007199254740992.0;
static const uint64_t SIGN = UINT64_C(1) << 63;
static const uint64_t A_DAY = UINT64_C(86400000000);
static const uint32_t LAST_DAY = 3652059;
static const int DAYS_BEFORE[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365};

static void
put_big_endian(Byte *to, uint64_t value, int size)
{
    for (int i = size - 1; i >= 0; i--, value >>= 8)
        to[i] = (Byte)value;
}

static uint64_t
get_big_endian(const Byte *from, int size)
{
    uint64_t value = 0;
    for (int i = 0; i < size; i++)
        value = value << 8 | from[i];
    return value;
}

static Py_ssize_t
put_number(Byte *to, double value)
{
    if (isnan(value)) {
        to[0] = KEY_NAN;
        return 1;
    }
    uint64_t bits;
    value += 0.0; /* no -0.0 */
    memcpy(&bits, &value, sizeof bits);
    to[0] = KEY_NUMBER;
    put_big_endian(to + 1, bits & SIGN ? ~bits : bits | SIGN, 8);
    to[9] = 0;
    return NUMBER_SIZE;
}

static bool
is_leap(int year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static int
days_before(int year, int month)
{
    return DAYS_BEFORE[month - 1] + (month > 2 && is_leap(year));
}

static uint32_t
ordinal(PyObject *date)
{
    int year = PyDateTime_GET_YEAR(date), past = year - 1;
    return (uint32_t)(past * 365 + past / 4 - past / 100 + past / 400
                      + days_before(year, PyDateTime_GET_MONTH(date)) + PyDateTime_GET_DAY(date));
}

static Py_ssize_t
put_datetime(Byte *to, PyObject *value)
{
    PyObject *zone = PyDateTime_DATE_GET_TZINFO(value);
    if (zone != Py_None && zone != PyDateTime_TimeZone_UTC)
        return 0;
    uint64_t seconds = (uint64_t)PyDateTime_DATE_GET_HOUR(value) * 3600
                       + (uint64_t)PyDateTime_DATE_GET_MINUTE(value) * 60
                       + (uint64_t)PyDateTime_DATE_GET_SECOND(value);
    uint64_t since = (ordinal(value) - 1) * A_DAY + seconds * 1000000
                     + (uint64_t)PyDateTime_DATE_GET_MICROSECOND(value);
    to[0] = zone == Py_None ? KEY_NAIVE : KEY_AWARE;
    put_big_endian(to + 1, zone == Py_None ? since : since + A_DAY, 8);
    return DATETIME_SIZE;
}

/* Answers the length of the encoding, 0 if `value` is left to Python. */
static Py_ssize_t
put_scalar(Byte *to, PyObject *value)
{
    if (value == Py_None) {
        to[0] = KEY_NONE;
        return 1;
    }
    if (PyFloat_CheckExact(value))
        return put_number(to, PyFloat_AS_DOUBLE(value));
    if (PyLong_CheckExact(value) || PyBool_Check(value)) {
        int overflow;
        double number = (double)PyLong_AsLongLongAndOverflow(value, &overflow);
        return overflow || fabs(number) >= EXACT_INTS ? 0 : put_number(to, number);
    }
    if (PyDateTime_CheckExact(value))
        return put_datetime(to, value);
    if (PyDate_CheckExact(value)) {
        to[0] = KEY_DATE;
        put_big_endian(to + 1, ordinal(value), 4);
        return DATE_SIZE;
    }
    return 0;
}

static void
put_escaped(Byte *to, const Byte *raw, Py_ssize_t size)
{
    for (Py_ssize_t i = 0; i < size; i++) {
        *to++ = raw[i] <= 1 ? 1 : raw[i];
        if (raw[i] <= 1)
            *to++ = raw[i] + 1;
    }
}

static PyObject *
prefixed_text(const char *prefix, Py_ssize_t length, const Byte *raw, Py_ssize_t size)
{
    Py_ssize_t escapes = 0;
    for (Py_ssize_t i = 0; i < size; i++)
        escapes += raw[i] <= 1;
    if (size > (PY_SSIZE_T_MAX - length - 2) / 2)
        return PyErr_NoMemory();
    PyObject *key = PyBytes_FromStringAndSize(NULL, length + size + escapes + 2);
    if (key == NULL)
        return NULL;
    Byte *to = (Byte *)PyBytes_AS_STRING(key);
    memcpy(to, prefix, (size_t)length);
    to += length;
    *to++ = KEY_TEXT;
    if (escapes)
        put_escaped(to, raw, size);
    else
        memcpy(to, raw, (size_t)size);
    to[size + escapes] = 0;
    return key;
}

static PyObject *
encode_text(const char *prefix, Py_ssize_t length, PyObject *text)
{
    if (PyUnicode_IS_COMPACT_ASCII(text))
        return prefixed_text(prefix, length, PyUnicode_1BYTE_DATA(text),
                             PyUnicode_GET_LENGTH(text));
    PyObject *raw = PyUnicode_AsEncodedString(text, "utf-8", "surrogatepass");
    if (raw == NULL)
        return NULL;
    PyObject *key = prefixed_text(prefix, length, (Byte *)PyBytes_AS_STRING(raw),
                                  PyBytes_GET_SIZE(raw));
    Py_DECREF(raw);
    return key;
}

static PyObject *
joined(const char *prefix, Py_ssize_t length, const char *rest, Py_ssize_t size)
{
    PyObject *key = PyBytes_FromStringAndSize(NULL, length + size);
    if (key == NULL)
        return NULL;
    memcpy(PyBytes_AS_STRING(key), prefix, (size_t)length);
    memcpy(PyBytes_AS_STRING(key) + length, rest, (size_t)size);
    return key;
}

/* A borrowed encoder of Python's; NULL, without an error, if there is none for the type. */
static PyObject *
encoder_of(PyObject *value, PyObject *encoders)
{
    return PyDict_GetItemWithError(encoders, (PyObject *)Py_TYPE(value));
}

static PyObject *
encode_in_python(PyObject *encoder, PyObject *value)
{
    Py_INCREF(encoder);
    PyObject *encoded = PyObject_CallOneArg(encoder, value);
    Py_DECREF(encoder);
    if (encoded != NULL && !PyBytes_Check(encoded)) {
        Py_DECREF(encoded);
        PyErr_SetString(PyExc_TypeError, "an encoder gives bytes");
        return NULL;
    }
    return encoded;
}

/* Answers whether `value` is of a type that is encoded here; then `key` is it, or NULL and an error. */
static bool
encode_here(const char *prefix, Py_ssize_t length, PyObject *value, PyObject **key)
{
    if (PyUnicode_CheckExact(value)) {
        *key = encode_text(prefix, length, value);
        return true;
    }
    Byte scalar[LONGEST];
    Py_ssize_t size = put_scalar(scalar, value);
    if (size > 0)
        *key = joined(prefix, length, (char *)scalar, size);
    return size > 0;
}

static PyObject *
native_encode_key(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    if (count != 2 || !PyDict_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "encode_key() takes a value and a dict of encoders");
        return NULL;
    }
    PyObject *key;
    if (encode_here("", 0, args[0], &key))
        return key;
    PyObject *encoder = encoder_of(args[0], args[1]);
    if (encoder != NULL)
        return encode_in_python(encoder, args[0]);
    if (PyErr_Occurred())
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
entry(PyObject *prefix, PyObject *value, PyObject *encoders)
{
    if (!PyBytes_Check(prefix)) {
        PyErr_SetString(PyExc_TypeError, "a prefix is bytes");
        return NULL;
    }
    const char *begin = PyBytes_AS_STRING(prefix);
    PyObject *key;
    if (encode_here(begin, PyBytes_GET_SIZE(prefix), value, &key))
        return key;
    PyObject *encoder = encoder_of(value, encoders);
    if (encoder == NULL) {
        if (!PyErr_Occurred())
            PyErr_SetObject(PyExc_KeyError, (PyObject *)Py_TYPE(value));
        return NULL;
    }
    PyObject *rest = encode_in_python(encoder, value);
    if (rest == NULL)
        return NULL;
    key = joined(begin, PyBytes_GET_SIZE(prefix), PyBytes_AS_STRING(rest), PyBytes_GET_SIZE(rest));
    Py_DECREF(rest);
    return key;
}

static PyObject *
native_encode_entries(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    if (count != 3 || !PyTuple_Check(args[0]) || !PyTuple_Check(args[1])
        || !PyDict_Check(args[2])) {
        PyErr_SetString(PyExc_TypeError,
                        "encode_entries() takes two tuples and a dict of encoders");
        return NULL;
    }
    Py_ssize_t size = PyTuple_GET_SIZE(args[0]);
    if (PyTuple_GET_SIZE(args[1]) != size) {
        PyErr_SetString(PyExc_ValueError, "there is a prefix for each value");
        return NULL;
    }
    PyObject *entries = PyList_New(size);
    if (entries == NULL)
        return NULL;
    for (Py_ssize_t i = 0; i < size; i++) {
        PyObject *each = entry(PyTuple_GET_ITEM(args[0], i), PyTuple_GET_ITEM(args[1], i), args[2]);
        if (each == NULL) {
            Py_DECREF(entries);
            return NULL;
        }
        PyList_SET_ITEM(entries, i, each);
    }
    return entries;
}

static PyObject *
decode_number(const Byte *data, Py_ssize_t size)
{
    if (size < NUMBER_SIZE || data[9] != 0)
        return NULL;
    uint64_t bits = get_big_endian(data + 1, 8);
    bits = bits & SIGN ? bits ^ SIGN : ~bits;
    double value;
    memcpy(&value, &bits, sizeof value);
    if (isnan(value))
        return NULL;
    return isfinite(value) && floor(value) == value ? PyLong_FromDouble(value)
                                                    : PyFloat_FromDouble(value);
}

static PyObject *
decode_text(const Byte *data, Py_ssize_t size)
{
    const Byte *end = memchr(data + 1, 0, (size_t)size - 1);
    if (end == NULL || memchr(data + 1, 1, (size_t)(end - data - 1)) != NULL)
        return NULL;
    PyObject *text = PyUnicode_DecodeUTF8((const char *)data + 1, end - data - 1, "surrogatepass");
    if (text == NULL && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError))
        PyErr_Clear();
    return text;
}

/* `day` is an ordinal from 1 to LAST_DAY. */
static void
to_calendar(uint32_t day, int *year, int *month, int *rest)
{
    int left = (int)day - 1;
    int years = left / 146097 * 400;
    left %= 146097;
    int hundreds = left / 36524;
    left -= hundreds * 36524;
    int fours = left / 1461;
    left %= 1461;
    int ones = left / 365;
    left -= ones * 365;
    *year = years + hundreds * 100 + fours * 4 + ones + 1;
    if (hundreds == 4 || ones == 4) { /* the last day of a leap year */
        *year -= 1;
        *month = 12;
        *rest = 31;
        return;
    }
    *month = 12;
    while (days_before(*year, *month) > left)
        --*month;
    *rest = left - days_before(*year, *month) + 1;
}

static PyObject *
decode_date(const Byte *data, Py_ssize_t size)
{
    if (size < DATE_SIZE)
        return NULL;
    uint32_t day = (uint32_t)get_big_endian(data + 1, 4);
    if (day < 1 || day > LAST_DAY)
        return NULL;
    int year, month, rest;
    to_calendar(day, &year, &month, &rest);
    return PyDate_FromDate(year, month, rest);
}

static PyObject *
decode_datetime(const Byte *data, Py_ssize_t size, bool aware)
{
    if (size < DATETIME_SIZE)
        return NULL;
    uint64_t since = get_big_endian(data + 1, 8), first = aware ? A_DAY : 0;
    if (since < first || since - first >= LAST_DAY * A_DAY)
        return NULL;
    since -= first;
    int year, month, day, seconds = (int)(since % A_DAY / 1000000);
    to_calendar((uint32_t)(since / A_DAY) + 1, &year, &month, &day);
    return PyDateTimeAPI->DateTime_FromDateAndTime(
        year, month, day, seconds / 3600, seconds / 60 % 60, seconds % 60, (int)(since % 1000000),
        aware ? PyDateTime_TimeZone_UTC : Py_None, PyDateTimeAPI->DateTimeType);
}

/* NULL without an error is for Python to decode. */
static PyObject *
decode_here(const Byte *data, Py_ssize_t size)
{
    if (size < 1)
        return NULL;
    switch (data[0]) {
    case KEY_NONE: return Py_NewRef(Py_None);
    case KEY_NUMBER: return decode_number(data, size);
    case KEY_TEXT: return decode_text(data, size);
    case KEY_DATE: return decode_date(data, size);
    case KEY_NAIVE: return decode_datetime(data, size, false);
    case KEY_AWARE: return decode_datetime(data, size, true);
    default: return NULL;
    }
}

static PyObject *
decode_in_python(PyObject *row, PyObject *offset, PyObject *decode)
{
    PyObject *pair = PyObject_CallFunctionObjArgs(decode, row, offset, NULL);
    if (pair == NULL)
        return NULL;
    PyObject *key = PySequence_GetItem(pair, 0);
    Py_DECREF(pair);
    return key;
}

static PyObject *
decode_row(PyObject *row, Py_ssize_t at, PyObject *offset, PyObject *decode)
{
    PyObject *key = NULL;
    if (PyBytes_Check(row) && at < PyBytes_GET_SIZE(row))
        key = decode_here((Byte *)PyBytes_AS_STRING(row) + at, PyBytes_GET_SIZE(row) - at);
    return key != NULL || PyErr_Occurred() ? key : decode_in_python(row, offset, decode);
}

/* What is in a row is its key and its value; a borrowed reference, or NULL. */
static PyObject *
first_of(PyObject *row)
{
    if (PyTuple_Check(row) && PyTuple_GET_SIZE(row) > 0)
        return PyTuple_GET_ITEM(row, 0);
    PyErr_Format(PyExc_TypeError, "a row is a tuple, not %R", Py_TYPE(row));
    return NULL;
}

static PyObject *
native_decode_ids(PyObject *Py_UNUSED(module), PyObject *given)
{
    PyObject *rows = PySequence_Tuple(given);
    if (rows == NULL)
        return NULL;
    PyObject *ids = PyList_New(PyTuple_GET_SIZE(rows));
    for (Py_ssize_t i = 0; ids != NULL && i < PyTuple_GET_SIZE(rows); i++) {
        PyObject *key = first_of(PyTuple_GET_ITEM(rows, i)), *ident = NULL;
        if (key != NULL && PyBytes_Check(key)) {
            Py_ssize_t size = PyBytes_GET_SIZE(key), length = Py_MIN(size, ID_BYTES);
            unsigned long long number = 0;
            for (Py_ssize_t at = size - length; at < size; at++)
                number = number << 8 | (Byte)PyBytes_AS_STRING(key)[at];
            ident = PyLong_FromUnsignedLongLong(number);
        }
        else if (key != NULL)
            PyErr_Format(PyExc_TypeError, "a key is bytes, not %R", Py_TYPE(key));
        if (ident == NULL)
            Py_CLEAR(ids);
        else
            PyList_SET_ITEM(ids, i, ident);
    }
    Py_DECREF(rows);
    return ids;
}

static PyObject *
native_decode_keys(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    if (count != 3) {
        PyErr_SetString(PyExc_TypeError, "decode_keys() takes rows, an offset and a function");
        return NULL;
    }
    Py_ssize_t at = PyNumber_AsSsize_t(args[1], PyExc_OverflowError);
    if (at < 0) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_ValueError, "an offset is not negative");
        return NULL;
    }
    PyObject *rows = PySequence_Tuple(args[0]);
    if (rows == NULL)
        return NULL;
    PyObject *keys = PyList_New(PyTuple_GET_SIZE(rows));
    for (Py_ssize_t i = 0; keys != NULL && i < PyTuple_GET_SIZE(rows); i++) {
        PyObject *row = first_of(PyTuple_GET_ITEM(rows, i));
        PyObject *key = row == NULL ? NULL : decode_row(row, at, args[1], args[2]);
        if (key == NULL)
            Py_CLEAR(keys);
        else
            PyList_SET_ITEM(keys, i, key);
    }
    Py_DECREF(rows);
    return keys;
}

/* Pickles: a walk as in atop/walk.py, over fewer opcodes and without what is shared but leaves. */

enum { DEEPEST = 100, OWN = 64 };

typedef enum {
    MARK, LIST, DICT, SET, FROZENSET,
    EMPTY_TUPLE, TUPLE, OF_TEXT, OF_BYTES, OF_DELTA, OF_BYTES_AND_ZONE, OF_THREE_INTS,
    CONSTANT, INT, TEXT, BYTES, OBJECT, DELTA, ZONE, OF_TWO_INTS, BYTEARRAY, ITEM,
    CLASS_DATE, CLASS_DATETIME, CLASS_TIME, CLASS_DELTA, CLASS_TIMEZONE, CLASS_ZONEINFO,
    CLASS_DECIMAL, CLASS_UUID,
    FIRST_LEAF = CONSTANT, LAST_IMMUTABLE = ZONE
} Kind;

/* What an unpickler would have there. `at` is where a short text's length is, or, of a mark, how
   many values were below the one before. */
typedef struct {
    Byte kind;
    Byte depth;
    uint32_t at;
} Value;

typedef struct {
    Value *values;
    uint32_t size;
    uint32_t room;
    Value own[OWN];
} Values;

typedef struct {
    const Byte *data;
    const Byte *at;
    const Byte *end;
    const Byte *frame_end;
    uint32_t bottom; /* where the values after the last mark begin */
    bool items;      /* whether it refers to any */
    bool flat;       /* whether the first dict has no values that can change */
    Values stack;
    Values memo;
} Walk;

static const struct {
    const char *module;
    const char *name;
    Kind kind;
} CLASSES[] = { /* with their lengths */
    {"\10datetime", "\4date", CLASS_DATE},
    {"\10datetime", "\10datetime", CLASS_DATETIME},
    {"\10datetime", "\4time", CLASS_TIME},
    {"\10datetime", "\11timedelta", CLASS_DELTA},
    {"\10datetime", "\10timezone", CLASS_TIMEZONE},
    {"\10zoneinfo", "\10ZoneInfo", CLASS_ZONEINFO},
    {"\7decimal", "\7Decimal", CLASS_DECIMAL},
    {"\4uuid", "\4UUID", CLASS_UUID},
};

static bool
grow(Values *values)
{
    bool owned = values->values == values->own;
    size_t room = 2 * (size_t)values->room;
    if (room > UINT32_MAX)
        return false;
    Value *more = PyMem_Realloc(owned ? NULL : values->values, room * sizeof *more);
    if (more == NULL)
        return false;
    if (owned)
        memcpy(more, values->own, sizeof values->own);
    values->values = more;
    values->room = (uint32_t)room;
    return true;
}

static inline bool
append(Values *values, Value value)
{
    if (values->size == values->room && !grow(values))
        return false;
    values->values[values->size++] = value;
    return true;
}

static inline bool
push(Walk *walk, Kind kind, unsigned depth)
{
    return depth < DEEPEST && append(&walk->stack, (Value){(Byte)kind, (Byte)depth, 0});
}

/* The values above the last mark are `count` or more. */
static inline bool
has(const Walk *walk, uint32_t count)
{
    return walk->stack.size - walk->bottom >= count;
}

/* The value that is `below` others. */
static inline Value *
top(Walk *walk, uint32_t below)
{
    return &walk->stack.values[walk->stack.size - 1 - below];
}

/* Over `size` bytes, behind which there are more, since a pickle ends with its STOP. */
static inline bool
skip(Walk *walk, uint64_t size)
{
    if (size >= (uint64_t)(walk->end - walk->at))
        return false;
    walk->at += size;
    return true;
}

static inline bool
literal(Walk *walk, const char *bytes, size_t size)
{
    const Byte *begin = walk->at;
    return skip(walk, size) && memcmp(begin, bytes, size) == 0;
}

static inline bool
little_endian(Walk *walk, int digits, uint64_t *number)
{
    const Byte *begin = walk->at;
    *number = 0;
    if (!skip(walk, (uint64_t)digits))
        return false;
    for (int i = digits - 1; i >= 0; i--)
        *number = *number << 8 | begin[i];
    return true;
}

/* Over a length of `digits` bytes and as many bytes as it says. */
static inline bool
sized(Walk *walk, Kind kind, int digits)
{
    uint64_t size;
    return little_endian(walk, digits, &size) && skip(walk, size) && push(walk, kind, 0);
}

/* An unpickler goes astray where an opcode crosses the end of a frame. */
static bool
frame(Walk *walk)
{
    uint64_t size;
    if (walk->at - 1 < walk->frame_end || !little_endian(walk, 8, &size)
        || size > (uint64_t)(walk->end - walk->at))
        return false;
    walk->frame_end = walk->at + size;
    return true;
}

static inline bool
short_text(Walk *walk)
{
    uint32_t at = (uint32_t)(walk->at - walk->data);
    if (!sized(walk, TEXT, 1))
        return false;
    top(walk, 0)->at = at;
    return true;
}

static inline bool
fixed(Walk *walk, Kind kind, uint64_t size)
{
    return skip(walk, size) && push(walk, kind, 0);
}

static inline bool
memoize(Walk *walk)
{
    return has(walk, 1) && append(&walk->memo, *top(walk, 0));
}

/* What can hold others is held once only: so there are never more values than bytes. */
static inline bool
recall(Walk *walk, int digits)
{
    uint64_t number;
    if (!little_endian(walk, digits, &number) || number >= walk->memo.size
        || walk->memo.values[number].kind < FIRST_LEAF)
        return false;
    return append(&walk->stack, walk->memo.values[number]);
}

static inline bool
mark(Walk *walk)
{
    if (!append(&walk->stack, (Value){MARK, 0, walk->bottom}))
        return false;
    walk->bottom = walk->stack.size;
    return true;
}

static unsigned
depth_above(const Walk *walk, uint32_t begin)
{
    unsigned depth = 0;
    for (uint32_t i = begin; i < walk->stack.size; i++)
        depth = Py_MAX(depth, walk->stack.values[i].depth);
    return depth + 1;
}

/* The last `count` values go into the one before them. */
static bool
put(Walk *walk, Kind kind, uint32_t count)
{
    if (!has(walk, count + 1))
        return false;
    Value *target = top(walk, count);
    unsigned depth = Py_MAX(target->depth, depth_above(walk, walk->stack.size - count));
    if (target->kind != kind || depth >= DEEPEST)
        return false;
    target->depth = (Byte)depth;
    if (target == walk->stack.values)
        for (uint32_t below = 0; below < count; below += 2) {
            Kind value = top(walk, below)->kind;
            walk->flat &= FIRST_LEAF <= value && value <= LAST_IMMUTABLE;
        }
    walk->stack.size -= count;
    return true;
}

/* Takes the last mark away from below the values after it; `count` is how many these are. */
static bool
unmark(Walk *walk, uint32_t *count)
{
    Value *values = walk->stack.values;
    if (walk->bottom == 0)
        return false;
    uint32_t before = values[walk->bottom - 1].at;
    *count = walk->stack.size - walk->bottom;
    memmove(values + walk->bottom - 1, values + walk->bottom, *count * sizeof *values);
    walk->stack.size--;
    walk->bottom = before;
    return true;
}

static bool
put_marked(Walk *walk, Kind kind)
{
    uint32_t count;
    return unmark(walk, &count) && (kind != DICT || count % 2 == 0) && put(walk, kind, count);
}

static bool
make(Walk *walk, Kind kind, uint32_t count)
{
    unsigned depth = depth_above(walk, walk->stack.size - count);
    walk->stack.size -= count;
    return push(walk, kind, depth);
}

static bool
make_marked(Walk *walk, Kind kind)
{
    uint32_t count;
    return unmark(walk, &count) && make(walk, kind, count);
}

static Kind
kind_of_tuple(Walk *walk, uint32_t count)
{
    Kind last = top(walk, 0)->kind;
    if (count == 1)
        return last == TEXT ? OF_TEXT : last == BYTES ? OF_BYTES : last == DELTA ? OF_DELTA : TUPLE;
    Kind before = top(walk, 1)->kind;
    if (count == 2 && before == BYTES && last == ZONE)
        return OF_BYTES_AND_ZONE;
    if (before != INT || last != INT)
        return TUPLE;
    return count == 2 ? OF_TWO_INTS : top(walk, 2)->kind == INT ? OF_THREE_INTS : TUPLE;
}

static bool
small_tuple(Walk *walk, uint32_t count)
{
    return has(walk, count) && make(walk, kind_of_tuple(walk, count), count);
}

static bool
is_named(const Walk *walk, const Value *value, const char *name)
{
    const Byte *text = walk->data + value->at;
    return value->kind == TEXT && value->at && text[0] == name[0]
           && memcmp(text, name, (size_t)name[0] + 1) == 0;
}

static bool
find_class(Walk *walk)
{
    if (!has(walk, 2))
        return false;
    for (size_t i = 0; i < Py_ARRAY_LENGTH(CLASSES); i++)
        if (is_named(walk, top(walk, 0), CLASSES[i].name)
            && is_named(walk, top(walk, 1), CLASSES[i].module)) {
            walk->stack.size -= 2;
            return push(walk, CLASSES[i].kind, 0);
        }
    return false;
}

/* What a call makes; MARK if it is not called so. */
static Kind
made_by(Kind called, Kind args)
{
    switch (called) {
    case CLASS_DATE:
        return args == OF_BYTES || args == OF_THREE_INTS ? OBJECT : MARK;
    case CLASS_DATETIME:
        return args == OF_BYTES || args == OF_BYTES_AND_ZONE || args == OF_THREE_INTS ? OBJECT
                                                                                    : MARK;
    case CLASS_TIME: return args == OF_BYTES || args == OF_BYTES_AND_ZONE ? OBJECT : MARK;
    case CLASS_DELTA: return args == OF_THREE_INTS ? DELTA : MARK;
    case CLASS_TIMEZONE: return args == OF_DELTA ? ZONE : MARK;
    case CLASS_ZONEINFO: return args == OF_TEXT ? ZONE : MARK;
    case CLASS_DECIMAL: return args == OF_TEXT ? OBJECT : MARK;
    default: return MARK;
    }
}

static bool
call(Walk *walk)
{
    if (!has(walk, 2))
        return false;
    Kind made = made_by(top(walk, 1)->kind, top(walk, 0)->kind);
    return made != MARK && make(walk, made, 2);
}

static bool
item(Walk *walk)
{
    if (!has(walk, 1) || top(walk, 0)->kind != OF_TWO_INTS)
        return false;
    walk->stack.size--;
    walk->items = true;
    return push(walk, ITEM, 0);
}

static inline bool
take(Walk *walk, Byte code)
{
    return *walk->at == code && skip(walk, 1);
}

static bool
attribute_name(Walk *walk)
{
    if (take(walk, 0x8c))
        return short_text(walk) && memoize(walk) && take(walk, 0x94);
    return take(walk, 'h') && recall(walk, 1) && top(walk, 0)->kind == TEXT;
}

static bool
integer(Walk *walk)
{
    if (take(walk, 0x8a))
        return sized(walk, INT, 1);
    return (take(walk, 'K') && fixed(walk, INT, 1)) || (take(walk, 'M') && fixed(walk, INT, 2))
           || (take(walk, 'J') && fixed(walk, INT, 4));
}

/* A UUID is made empty, and then has the dict of its only attribute put into it. */
static bool
uuid(Walk *walk)
{
    if (!has(walk, 2) || top(walk, 1)->kind != CLASS_UUID || top(walk, 0)->kind != EMPTY_TUPLE)
        return false;
    walk->stack.size -= 2;
    if (!push(walk, OBJECT, 2) || !literal(walk, "\x94}\x94", 3) || !memoize(walk)
        || !append(&walk->memo, (Value){DICT, 0, 0}))
        return false;
    if (!attribute_name(walk) || !integer(walk) || !literal(walk, "sb", 2))
        return false;
    walk->stack.size -= 2;
    return true;
}

/* Over an opcode, of which there is a byte and another one. */
static inline bool
opcode(Walk *walk)
{
    switch (*walk->at++) {
    case 0x8c: return short_text(walk);
    case 0x94: return memoize(walk);
    case 'h': return recall(walk, 1);
    case 'j': return recall(walk, 4);
    case 'K': return fixed(walk, INT, 1);
    case 'M': return fixed(walk, INT, 2);
    case 'J': return fixed(walk, INT, 4);
    case 'G': return fixed(walk, CONSTANT, 8);
    case 'N': case 0x88: case 0x89: return push(walk, CONSTANT, 0);
    case 'X': return sized(walk, TEXT, 4);
    case 0x8d: return sized(walk, TEXT, 8);
    case 'C': return sized(walk, BYTES, 1);
    case 'B': return sized(walk, BYTES, 4);
    case 0x8e: return sized(walk, BYTES, 8);
    case 0x96: return sized(walk, BYTEARRAY, 8);
    case 0x8a: return sized(walk, INT, 1);
    case ']': return push(walk, LIST, 0);
    case '}': return push(walk, DICT, 0);
    case 0x8f: return push(walk, SET, 0);
    case ')': return push(walk, EMPTY_TUPLE, 0);
    case '(': return mark(walk);
    case 'a': return put(walk, LIST, 1);
    case 's': return put(walk, DICT, 2);
    case 'e': return put_marked(walk, LIST);
    case 'u': return put_marked(walk, DICT);
    case 0x90: return put_marked(walk, SET);
    case 't': return make_marked(walk, TUPLE);
    case 0x91: return make_marked(walk, FROZENSET);
    case 0x85: return small_tuple(walk, 1);
    case 0x86: return small_tuple(walk, 2);
    case 0x87: return small_tuple(walk, 3);
    case 0x93: return find_class(walk);
    case 'R': return call(walk);
    case 0x81: return uuid(walk);
    case 'Q': return item(walk);
    case 0x95: return frame(walk);
    default: return false;
    }
}

static inline bool
step(Walk *walk)
{
    const Byte *begin = walk->at;
    return begin + 1 < walk->end && opcode(walk)
           && !(begin < walk->frame_end && walk->frame_end < walk->at);
}

static const char *const BOND_NAMES[] = {"key", "session", "mark", "stored", "fresh"};
enum { BOND_VALUES = Py_ARRAY_LENGTH(BOND_NAMES) };

typedef struct {
    PyObject *loads; /* pickle.loads */
    PyObject *names[BOND_VALUES];
} State;

enum { CLOSELY, WITH_ITEMS, VALUES, FLAT };

/* Whether a pickle has to be looked at more closely; or is plain values with items among them; or
   plain values only; or a dict of values none of which can change in place. */
static int
simplicity(const Byte *data, Py_ssize_t size)
{
    Walk walk;
    walk.data = walk.at = walk.frame_end = data;
    walk.end = data + size;
    walk.items = false;
    walk.flat = true;
    walk.bottom = walk.stack.size = walk.memo.size = 0;
    walk.stack.room = walk.memo.room = OWN;
    walk.stack.values = walk.stack.own;
    walk.memo.values = walk.memo.own;
    bool good = size > 2 && (uint64_t)size <= UINT32_MAX;
    if (good && data[0] == 0x80)
        good = (data[1] == 4 || data[1] == 5) && skip(&walk, 2);
    /* Every step leaves a byte to read. */
    while (good && *walk.at != '.')
        good = step(&walk);
    good = good && walk.at + 1 == walk.end && walk.bottom == 0 && walk.stack.size == 1;
    bool flat = good && walk.flat && walk.stack.values[0].kind == DICT;
    if (walk.stack.values != walk.stack.own)
        PyMem_Free(walk.stack.values);
    if (walk.memo.values != walk.memo.own)
        PyMem_Free(walk.memo.values);
    if (!good)
        return CLOSELY;
    return walk.items ? WITH_ITEMS : flat ? FLAT : VALUES;
}

static PyObject *
native_simplicity(PyObject *Py_UNUSED(module), PyObject *pickled)
{
    return PyLong_FromLong(PyBytes_Check(pickled)
                               ? simplicity((Byte *)PyBytes_AS_STRING(pickled),
                                            PyBytes_GET_SIZE(pickled))
                               : 0);
}

/* The values of a FLAT pickle, as an unpickler makes them, in half its time; the names are interned,
   as those of attributes are, so that items share them. */

typedef struct {
    PyObject *values[OWN];
    int size;
} Pile;

static bool
add_to(Pile *pile, PyObject *value)
{
    if (value == NULL)
        return false;
    if (pile->size == OWN) {
        Py_DECREF(value);
        return false;
    }
    pile->values[pile->size++] = value;
    return true;
}

static void
shrink(Pile *pile, int size)
{
    while (pile->size > size)
        Py_DECREF(pile->values[--pile->size]);
}

static uint64_t
take_number(const Byte **at, int digits)
{
    uint64_t number = 0;
    for (int i = digits - 1; i >= 0; i--)
        number = number << 8 | (*at)[i];
    *at += digits;
    return number;
}

static PyObject *
take_text(const Byte **at, int digits)
{
    Py_ssize_t size = (Py_ssize_t)take_number(at, digits);
    *at += size;
    return PyUnicode_DecodeUTF8((const char *)*at - size, size, "surrogatepass");
}

static PyObject *
take_bytes(const Byte **at, int digits)
{
    Py_ssize_t size = (Py_ssize_t)take_number(at, digits);
    *at += size;
    return PyBytes_FromStringAndSize((const char *)*at - size, size);
}

static PyObject *
take_long(const Byte **at)
{
    size_t size = (size_t)take_number(at, 1);
    *at += size;
    return _PyLong_FromByteArray(*at - size, size, 1, 1);
}

static PyObject *
take_float(const Byte **at)
{
    double value = PyFloat_Unpack8((const char *)*at, 0);
    *at += 8;
    return value == -1.0 && PyErr_Occurred() ? NULL : PyFloat_FromDouble(value);
}

/* A value that has no others in it. NULL without an error for an opcode that is none. */
static PyObject *
take_value(Byte code, const Byte **at, const Pile *memo)
{
    switch (code) {
    case 0x8c: return take_text(at, 1);
    case 'X': return take_text(at, 4);
    case 'C': return take_bytes(at, 1);
    case 'B': return take_bytes(at, 4);
    case 'K': return PyLong_FromLong((long)take_number(at, 1));
    case 'M': return PyLong_FromLong((long)take_number(at, 2));
    case 'J': return PyLong_FromLong((int32_t)take_number(at, 4));
    case 0x8a: return take_long(at);
    case 'G': return take_float(at);
    case 'N': return Py_NewRef(Py_None);
    case 0x88: return Py_NewRef(Py_True);
    case 0x89: return Py_NewRef(Py_False);
    case 'h': return Py_NewRef(memo->values[take_number(at, 1)]);
    default: return NULL;
    }
}

/* The values from `first` on, names and what they are of, go into the dict below all. */
static bool
put_attributes(Pile *stack, int first)
{
    for (int i = first; i < stack->size; i += 2) {
        PyObject **name = &stack->values[i];
        if (PyUnicode_CheckExact(*name))
            PyUnicode_InternInPlace(name);
        if (PyDict_SetItem(stack->values[0], *name, stack->values[i + 1]) < 0)
            return false;
    }
    shrink(stack, first);
    return true;
}

/* Over what simplicity() found to be FLAT. False, maybe without an error, where it is not done. */
static bool
take_attributes(const Byte *at, Pile *stack, Pile *memo)
{
    int marked = 0;
    bool good = true;
    if (*at == 0x80)
        at += 2;
    while (good) {
        Byte code = *at++;
        switch (code) {
        case '.': return stack->size == 1;
        case 0x95: at += 8; break;
        case '}': good = stack->size == 0 && add_to(stack, PyDict_New()); break;
        case '(': good = marked == 0 && (marked = stack->size) > 0; break;
        case 0x94: good = add_to(memo, Py_NewRef(stack->values[stack->size - 1])); break;
        case 's': good = put_attributes(stack, stack->size - 2); break;
        case 'u': good = marked > 0 && put_attributes(stack, marked), marked = 0; break;
        default: good = add_to(stack, take_value(code, &at, memo));
        }
    }
    return false;
}

static PyObject *
flat_state(const Byte *data)
{
    Pile stack, memo;
    stack.size = memo.size = 0;
    PyObject *state = take_attributes(data, &stack, &memo) ? Py_NewRef(stack.values[0]) : NULL;
    shrink(&stack, 0);
    shrink(&memo, 0);
    return state;
}

/* A record begins with the number and version of a class, and the length of entries, of which the
   pickle stands behind. */
enum { CLASS_BYTES = 6, HEADER_BYTES = 10 };

/* The state in a record of a class that `classes` has, and that class, borrowed. NULL without an
   error for what has to be looked at more closely. */
static PyObject *
load_plain(PyObject *module, PyObject *given, PyObject *classes, PyObject **kind)
{
    const Byte *record = (Byte *)PyBytes_AS_STRING(given);
    Py_ssize_t size = PyBytes_GET_SIZE(given);
    if (size < HEADER_BYTES)
        return NULL;
    PyObject *head = PyBytes_FromStringAndSize((char *)record, CLASS_BYTES);
    *kind = head == NULL ? NULL : PyDict_GetItemWithError(classes, head);
    Py_XDECREF(head);
    if (*kind == NULL)
        return NULL;
    uint32_t entries = 0;
    for (int i = CLASS_BYTES; i < HEADER_BYTES; i++)
        entries = entries << 8 | record[i];
    size -= HEADER_BYTES;
    if (entries >= size || simplicity(record + HEADER_BYTES + entries, size - entries) != FLAT)
        return NULL;
    PyObject *state = flat_state(record + HEADER_BYTES + entries);
    if (state == NULL && !PyErr_Occurred()) {
        PyObject *pickled = PyBytes_FromStringAndSize((char *)record + HEADER_BYTES + entries,
                                                      size - entries);
        if (pickled != NULL)
            state = PyObject_CallOneArg(((State *)PyModule_GetState(module))->loads, pickled);
        Py_XDECREF(pickled);
    }
    /* Such as a date that there is not: whoever looks more closely says so. */
    if (state == NULL && PyErr_ExceptionMatches(PyExc_Exception))
        PyErr_Clear();
    return state;
}

static PyObject *
native_load_plain(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    if (count != 2 || !PyBytes_Check(args[0]) || !PyDict_CheckExact(args[1])) {
        PyErr_SetString(PyExc_TypeError, "load_plain() takes bytes and a dict");
        return NULL;
    }
    PyObject *kind = NULL, *state = load_plain(module, args[0], args[1], &kind);
    if (state == NULL) {
        if (PyErr_Occurred())
            return NULL;
        Py_RETURN_NONE;
    }
    PyObject *pair = PyTuple_Pack(2, kind, state);
    Py_DECREF(state);
    return pair;
}

/* Items: made of plain records, and found by their bonds. */

typedef struct {
    PyObject *classes, *bonds, *bond, *dropped, *session, *bond_slot, *dict_slot;
} Maker;

static bool
maker_of(PyObject *given, Maker *maker)
{
    if (!PyTuple_Check(given)) {
        PyErr_Format(PyExc_TypeError, "a maker is a tuple, not %R", Py_TYPE(given));
        return false;
    }
    return PyArg_ParseTuple(given, "O!O!O!OOOO;a maker has two dicts, a class and four objects",
                            &PyDict_Type, &maker->classes, &PyDict_Type, &maker->bonds,
                            &PyType_Type, &maker->bond, &maker->dropped, &maker->session,
                            &maker->bond_slot, &maker->dict_slot);
}

static bool
set_slot(PyObject *slot, PyObject *item, PyObject *value)
{
    descrsetfunc set = Py_TYPE(slot)->tp_descr_set;
    if (set == NULL) {
        PyErr_Format(PyExc_TypeError, "%R is no slot", slot);
        return false;
    }
    return set(slot, item, value) == 0;
}

/* A new item's bond, with all that every bond has. */
static PyObject *
make_bond(const State *state, const Maker *maker, PyObject *item, PyObject *key)
{
    PyObject *mark = PyLong_FromLong(0);
    PyObject *values[BOND_VALUES] = {key, maker->session, mark, Py_True, Py_False};
    PyObject *bond = mark == NULL ? NULL : PyObject_CallFunctionObjArgs(maker->bond, item,
                                                                        maker->dropped, NULL);
    for (int i = 0; bond != NULL && i < BOND_VALUES; i++)
        if (PyObject_SetAttr(bond, state->names[i], values[i]) < 0)
            Py_CLEAR(bond);
    Py_XDECREF(mark);
    return bond;
}

/* A new reference to the item that a record makes; NULL without an error if it is not plain. */
static PyObject *
make_item(PyObject *module, PyObject *key, PyObject *record, const Maker *maker)
{
    PyObject *kind = NULL, *state = load_plain(module, record, maker->classes, &kind);
    if (state == NULL)
        return NULL;
    PyObject *item = NULL, *bond = NULL, *none = PyTuple_New(0);
    if (none != NULL && PyType_Check(kind))
        item = PyBaseObject_Type.tp_new((PyTypeObject *)kind, none, NULL);
    if (item != NULL)
        bond = make_bond(PyModule_GetState(module), maker, item, key);
    if (bond == NULL || !set_slot(maker->bond_slot, item, bond)
        || !set_slot(maker->dict_slot, item, state)
        || PyDict_SetItem(maker->bonds, key, bond) < 0)
        Py_CLEAR(item);
    Py_XDECREF(bond);
    Py_XDECREF(none);
    Py_DECREF(state);
    return item;
}

static PyObject *
native_make_item(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    Maker maker;
    if (count != 3 || !PyBytes_Check(args[0]) || !PyBytes_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "make_item() takes two bytes and a maker");
        return NULL;
    }
    PyObject *item = maker_of(args[2], &maker) ? make_item(module, args[0], args[1], &maker) : NULL;
    return item != NULL || PyErr_Occurred() ? item : Py_NewRef(Py_None);
}

/* A new reference to the object of that id, if there is one; NULL without an error if not. */
static PyObject *
known_item(const Maker *maker, PyObject *ident)
{
    PyObject *bond = PyDict_GetItemWithError(maker->bonds, ident);
    if (bond == NULL)
        return NULL;
    if (!PyWeakref_Check(bond)) {
        PyErr_Format(PyExc_TypeError, "a bond is a weak reference, not %R", Py_TYPE(bond));
        return NULL;
    }
    PyObject *item = PyWeakref_GET_OBJECT(bond);
    return item == Py_None ? NULL : Py_NewRef(item);
}

/* What is made of a page so far. */
typedef struct {
    PyObject *items, *made;
    Py_ssize_t bytes;
} Made;

/* The item of one row; `build` makes it of what is not plain, `find` finds what has no record. */
static PyObject *
item_of_row(PyObject *module, PyObject *row, const Maker *maker, PyObject *build, PyObject *find,
            Made *page)
{
    if (!PyTuple_Check(row) || PyTuple_GET_SIZE(row) != 2
        || !PyBytes_Check(PyTuple_GET_ITEM(row, 0))) {
        PyErr_Format(PyExc_TypeError, "a row is a pair of a key and a record, not %R", row);
        return NULL;
    }
    PyObject *key = PyTuple_GET_ITEM(row, 0), *record = PyTuple_GET_ITEM(row, 1);
    Py_ssize_t size = PyBytes_GET_SIZE(key), length = Py_MIN(size, ID_BYTES);
    PyObject *ident = PyBytes_FromStringAndSize(PyBytes_AS_STRING(key) + size - length, length);
    PyObject *item = ident == NULL ? NULL : known_item(maker, ident);
    if (item == NULL && !PyErr_Occurred() && PyBytes_Check(record)) {
        item = make_item(module, ident, record, maker);
        if (item != NULL) {
            page->bytes += PyBytes_GET_SIZE(record);
            if (PyList_Append(page->made, item) < 0)
                Py_CLEAR(item);
        }
    }
    if (item == NULL && !PyErr_Occurred())
        item = record == Py_None ? PyObject_CallOneArg(find, key)
                                 : PyObject_CallFunctionObjArgs(build, ident, record, NULL);
    Py_XDECREF(ident);
    return item;
}

static PyObject *
native_make_page(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    Maker maker;
    if (count != 4) {
        PyErr_SetString(PyExc_TypeError, "make_page() takes rows, a maker and two functions");
        return NULL;
    }
    PyObject *rows = maker_of(args[1], &maker) ? PySequence_Tuple(args[0]) : NULL;
    if (rows == NULL)
        return NULL;
    Made page = {PyList_New(PyTuple_GET_SIZE(rows)), PyList_New(0), 0};
    bool good = page.items != NULL && page.made != NULL;
    for (Py_ssize_t i = 0; good && i < PyTuple_GET_SIZE(rows); i++) {
        PyObject *item = item_of_row(module, PyTuple_GET_ITEM(rows, i), &maker, args[2], args[3],
                                     &page);
        if (item == NULL)
            good = false;
        else
            PyList_SET_ITEM(page.items, i, item);
    }
    PyObject *answer = good ? Py_BuildValue("(OOn)", page.items, page.made, page.bytes) : NULL;
    Py_XDECREF(page.items);
    Py_XDECREF(page.made);
    Py_DECREF(rows);
    return answer;
}

static PyMethodDef methods[] = {
    {"encode_key", (PyCFunction)(void (*)(void))native_encode_key, METH_FASTCALL,
     PyDoc_STR("encode_key(value, encoders)\n--\n\nA key's bytes; None if its type is unknown.")},
    {"encode_entries", (PyCFunction)(void (*)(void))native_encode_entries, METH_FASTCALL,
     PyDoc_STR("encode_entries(prefixes, values, encoders)\n--\n\n"
               "Each prefix with the bytes of its value after it.")},
    {"decode_keys", (PyCFunction)(void (*)(void))native_decode_keys, METH_FASTCALL,
     PyDoc_STR("decode_keys(rows, offset, decode)\n--\n\n"
               "The key that begins at an offset of each row.")},
    {"decode_ids", native_decode_ids, METH_O,
     PyDoc_STR("decode_ids(rows)\n--\n\nThe ids that the keys of rows end in.")},
    {"load_plain", (PyCFunction)(void (*)(void))native_load_plain, METH_FASTCALL,
     PyDoc_STR("load_plain(record, classes)\n--\n\n"
               "Class and state of a record of flat values; None for any other.")},
    {"make_item", (PyCFunction)(void (*)(void))native_make_item, METH_FASTCALL,
     PyDoc_STR("make_item(key, record, maker)\n--\n\n"
               "The item that a plain record makes; None for any other record.")},
    {"make_page", (PyCFunction)(void (*)(void))native_make_page, METH_FASTCALL,
     PyDoc_STR("make_page(rows, maker, build, find)\n--\n\n"
               "The items of rows, those of them that are new, and how many bytes these had.")},
    {"simplicity", native_simplicity, METH_O,
     PyDoc_STR("simplicity(pickled)\n--\n\n"
               "0 for a pickle to be looked at more closely, 1 for one of plain values and items,\n"
               "2 for one of plain values, 3 for a dict of plain values that cannot change.")},
    {NULL, NULL, 0, NULL},
};

static int
prepare(PyObject *module)
{
    PyDateTime_IMPORT;
    if (PyDateTimeAPI == NULL)
        return -1;
    PyObject *pickle = PyImport_ImportModule("pickle");
    if (pickle == NULL)
        return -1;
    State *state = PyModule_GetState(module);
    state->loads = PyObject_GetAttrString(pickle, "loads");
    Py_DECREF(pickle);
    for (int i = 0; i < BOND_VALUES; i++)
        if ((state->names[i] = PyUnicode_InternFromString(BOND_NAMES[i])) == NULL)
            return -1;
    return state->loads == NULL ? -1 : 0;
}

static int
traverse(PyObject *module, visitproc visit, void *arg)
{
    State *state = PyModule_GetState(module);
    Py_VISIT(state->loads);
    for (int i = 0; i < BOND_VALUES; i++)
        Py_VISIT(state->names[i]);
    return 0;
}

static int
clear(PyObject *module)
{
    State *state = PyModule_GetState(module);
    Py_CLEAR(state->loads);
    for (int i = 0; i < BOND_VALUES; i++)
        Py_CLEAR(state->names[i]);
    return 0;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, prepare},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "atop._native",
    .m_doc = PyDoc_STR("Inner loops of atop.native in C."),
    .m_size = sizeof(State),
    .m_methods = methods,
    .m_slots = slots,
    .m_traverse = traverse,
    .m_clear = clear,
};

PyMODINIT_FUNC
PyInit__native(void)
{
    return PyModuleDef_Init(&definition);
}
