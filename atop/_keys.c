/* Keys of indexes as bytes, and back; the layout is in doc/format.rst. */

#include "_native.h"

#include <datetime.h>
#include <math.h>

enum { KEY_NONE = 0x10, KEY_NUMBER = 0x20, KEY_NAN = 0x30, KEY_TEXT = 0x50, KEY_DATE = 0x60,
       KEY_NAIVE = 0x70, KEY_AWARE = 0x80 };

enum { LONGEST = 10, NUMBER_SIZE = 10, DATE_SIZE = 5, DATETIME_SIZE = 9 };

static const double EXACT_INTS = 9007199254740992.0;
static const uint64_t SIGN = UINT64_C(1) << 63;
static const uint64_t A_DAY = UINT64_C(86400000000);
static const uint32_t LAST_DAY = 3652059;
static const int DAYS_BEFORE[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365};

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

PyObject *
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

PyObject *
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

static bool
is_row(PyObject *row)
{
    if (!PyBytes_Check(row))
        PyErr_Format(PyExc_TypeError, "a row of the index is bytes, not %R", Py_TYPE(row));
    return PyBytes_Check(row);
}

static PyObject *
decode_row(PyObject *row, Py_ssize_t at, PyObject *offset, PyObject *decode)
{
    PyObject *key = NULL;
    if (!is_row(row))
        return NULL;
    if (at < PyBytes_GET_SIZE(row))
        key = decode_here((Byte *)PyBytes_AS_STRING(row) + at, PyBytes_GET_SIZE(row) - at);
    return key != NULL || PyErr_Occurred() ? key : decode_in_python(row, offset, decode);
}

PyObject *
native_decode_ids(PyObject *Py_UNUSED(module), PyObject *given)
{
    PyObject *rows = PySequence_Tuple(given);
    if (rows == NULL)
        return NULL;
    PyObject *ids = PyList_New(PyTuple_GET_SIZE(rows));
    for (Py_ssize_t i = 0; ids != NULL && i < PyTuple_GET_SIZE(rows); i++) {
        PyObject *row = PyTuple_GET_ITEM(rows, i), *ident = NULL;
        if (is_row(row)) {
            Py_ssize_t size = PyBytes_GET_SIZE(row), length = Py_MIN(size, ID_BYTES);
            unsigned long long number = 0;
            for (Py_ssize_t at = size - length; at < size; at++)
                number = number << 8 | (Byte)PyBytes_AS_STRING(row)[at];
            ident = PyLong_FromUnsignedLongLong(number);
        }
        if (ident == NULL)
            Py_CLEAR(ids);
        else
            PyList_SET_ITEM(ids, i, ident);
    }
    Py_DECREF(rows);
    return ids;
}

PyObject *
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
        PyObject *key = decode_row(PyTuple_GET_ITEM(rows, i), at, args[1], args[2]);
        if (key == NULL)
            Py_CLEAR(keys);
        else
            PyList_SET_ITEM(keys, i, key);
    }
    Py_DECREF(rows);
    return keys;
}

int
prepare_keys(void)
{
    PyDateTime_IMPORT;
    return PyDateTimeAPI == NULL ? -1 : 0;
}
