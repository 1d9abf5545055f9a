/* Items that are made of plain records, and found by their bonds. */

#include "_native.h"

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

PyObject *
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

/* A new reference to the object that a bond leads to; NULL without an error if it is gone. */
static PyObject *
live_item(PyObject *bond)
{
    if (!PyWeakref_Check(bond)) {
        PyErr_Format(PyExc_TypeError, "a bond is a weak reference, not %R", Py_TYPE(bond));
        return NULL;
    }
    PyObject *item = PyWeakref_GET_OBJECT(bond);
    return item == Py_None ? NULL : Py_NewRef(item);
}

/* The same for the object of that id. */
static PyObject *
known_item(const Maker *maker, PyObject *ident)
{
    PyObject *bond = PyDict_GetItemWithError(maker->bonds, ident);
    return bond == NULL ? NULL : live_item(bond);
}

PyObject *
native_live_items(PyObject *Py_UNUSED(module), PyObject *bonds)
{
    if (!PyList_Check(bonds)) {
        PyErr_Format(PyExc_TypeError, "live_items() takes a list, not %R", Py_TYPE(bonds));
        return NULL;
    }
    Py_ssize_t size = PyList_GET_SIZE(bonds);
    PyObject *items = PyList_New(size);
    for (Py_ssize_t i = 0; items != NULL && i < size; i++) {
        PyObject *item = live_item(PyList_GET_ITEM(bonds, i));
        if (item == NULL) {
            Py_DECREF(items);
            return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
        }
        PyList_SET_ITEM(items, i, item);
    }
    return items;
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

PyObject *
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
