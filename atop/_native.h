/* What the parts of the module atop._native have of each other.

   What is rare or wrong is left to Python, which also finds the words for it: so nothing here has
   an opinion of its own, and a value, a key or a record gets the same answer with and without. */

#ifndef ATOP_NATIVE_H
#define ATOP_NATIVE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

typedef unsigned char Byte;

/* A record begins with the number and version of a class, and the length of entries, of which the
   pickle stands behind. */
enum { ID_BYTES = 8, BOND_VALUES = 5, CLASS_BYTES = 6, HEADER_BYTES = 10 };

/* What a module has. */
typedef struct {
    PyObject *loads;              /* pickle.loads */
    PyObject *names[BOND_VALUES]; /* of what every bond has */
} State;

static inline void
put_big_endian(Byte *to, uint64_t value, int size)
{
    for (int i = size - 1; i >= 0; i--, value >>= 8)
        to[i] = (Byte)value;
}

static inline uint64_t
get_big_endian(const Byte *from, int size)
{
    uint64_t value = 0;
    for (int i = 0; i < size; i++)
        value = value << 8 | from[i];
    return value;
}

/* _keys.c */

int prepare_keys(void);
PyObject *native_encode_key(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *native_encode_entries(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *native_decode_keys(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *native_decode_ids(PyObject *module, PyObject *given);

/* _pickles.c */

/* Whether a pickle has to be looked at more closely; or is plain values with items among them; or
   plain values only; or a dict of values none of which can change in place. */
enum { CLOSELY, WITH_ITEMS, VALUES, FLAT };

int simplicity(const Byte *data, Py_ssize_t size);
PyObject *flat_state(const Byte *data);
PyObject *native_simplicity(PyObject *module, PyObject *pickled);

/* _records.c */

PyObject *native_join_entries(PyObject *module, PyObject *entries);
PyObject *native_split_entries(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *native_encode_plain(PyObject *module, PyObject *const *args, Py_ssize_t count);

/* _items.c */

PyObject *native_make_item(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *native_live_items(PyObject *module, PyObject *bonds);
PyObject *native_make_page(PyObject *module, PyObject *const *args, Py_ssize_t count);

#endif
