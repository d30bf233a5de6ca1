# Helpers that every folder's CMakeLists.txt uses:
#
#   fairlead_library(NAME SOURCES... DEPS...)   a static library, headers included as "server/raft/raft.h"
#   fairlead_test(NAME SOURCES... DEPS...)      a GoogleTest program, run by ctest
#   fairlead_binary(NAME SOURCES... DEPS...)    a program in build/<preset>/bin
#   fairlead_fuzz(NAME SOURCES... DEPS...)      a fuzz target (fuzz/README.md); elsewhere a test over its corpus

find_package(Threads REQUIRED)
if(FAIRLEAD_TESTS)
  enable_testing()
  find_package(GTest REQUIRED)
  include(GoogleTest)
endif()

add_compile_options(-Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wimplicit-fallthrough
  -Werror=return-type -Werror=unused-result -fno-omit-frame-pointer
  # a build path in a binary would make two builds of one commit differ
  -ffile-prefix-map=${CMAKE_SOURCE_DIR}/=)
# Our only processor family so far: SSE4.2 has the CRC32C instruction (x86-64-v2).
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  add_compile_options(-march=x86-64-v2)
endif()
if(FAIRLEAD_SANITIZE)
  add_compile_options(-fsanitize=${FAIRLEAD_SANITIZE})
  add_link_options(-fsanitize=${FAIRLEAD_SANITIZE})
endif()
if(FAIRLEAD_PLANTED)
  add_compile_definitions(FAIRLEAD_PLANTED=1)
endif()
if(FAIRLEAD_FAILPOINTS)
  add_compile_definitions(FAIRLEAD_FAILPOINTS=1)
endif()

function(fairlead_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPS" ${ARGN})
  add_library(${name} STATIC ${arg_SOURCES})
  target_include_directories(${name} PUBLIC ${CMAKE_SOURCE_DIR})
  target_link_libraries(${name} PUBLIC ${arg_DEPS})
endfunction()

function(fairlead_binary name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE ${arg_DEPS} Threads::Threads)
endfunction()

function(fairlead_test name)
  if(NOT FAIRLEAD_TESTS)
    return()
  endif()
  cmake_parse_arguments(arg "" "" "SOURCES;DEPS;ENV" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE ${arg_DEPS} GTest::gtest GTest::gtest_main Threads::Threads)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  # One ctest entry a program: a thousand process starts cost more than they tell.
  add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(${name} PROPERTIES TIMEOUT 300)
endfunction()

function(fairlead_fuzz name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPS" ${ARGN})
  set(target ${name}_fuzz)
  if(FAIRLEAD_FUZZ)
    add_executable(${target} ${arg_SOURCES})
    target_link_options(${target} PRIVATE -fsanitize=fuzzer)
    set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/targets)
  elseif(FAIRLEAD_TESTS)
    add_executable(${target} ${arg_SOURCES} ${CMAKE_SOURCE_DIR}/fuzz/replay_main.cc)
    set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
    add_test(NAME ${target}_corpus COMMAND ${target} ${CMAKE_SOURCE_DIR}/fuzz/corpus/${name})
    set_tests_properties(${target}_corpus PROPERTIES TIMEOUT 120)
  else()
    return()
  endif()
  target_include_directories(${target} PRIVATE ${CMAKE_SOURCE_DIR})
  target_link_libraries(${target} PRIVATE ${arg_DEPS} Threads::Threads)
endfunction()
